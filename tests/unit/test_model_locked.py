"""What a lock says about versions. Nothing here needs a machine."""

import pytest

from manylab.model.locked import versions

LOCK = """\
numpy==2.2.6 ; python_full_version < "3.11" \\
    --hash=sha256:00
numpy==2.4.6 ; python_full_version >= "3.11" \\
    --hash=sha256:01
exceptiongroup==1.3.1 ; python_version < "3.11" \\
    --hash=sha256:02
colorama==0.4.6 ; sys_platform == "win32" \\
    --hash=sha256:03
six==1.17.0 \\
    --hash=sha256:04
"""


def test_versions_are_those_for_the_python_of_the_environment():
    assert versions(LOCK, "3.10") == {"numpy": "2.2.6", "exceptiongroup": "1.3.1", "six": "1.17.0"}
    assert versions(LOCK, "3.13") == {"numpy": "2.4.6", "six": "1.17.0"}


def test_without_a_python_the_first_of_several_counts():
    assert versions(LOCK) == {"numpy": "2.2.6", "exceptiongroup": "1.3.1", "six": "1.17.0"}


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("good-one @ file:///srv/good_one-1.2-py3-none-any.whl", "1.2"),
        ("good-one @ https://example.org/a/good_one-1.2.tar.gz#sha256=00", "1.2"),
        ("good-one @ https://example.org/a/Good%20One.zip", "https://example.org/a/Good%20One.zip"),
        ("good-one @ git+https://example.org/a/b@v1", "git+https://example.org/a/b@v1"),
        ("good-one @ https://example.org/good_one-1.2-py3-none-any.whl ; python_version >= '3.9'", "1.2"),
    ],
)
def test_a_file_or_an_address_has_the_version_that_its_name_says(line, version):
    assert versions(f"{line}\n", "3.11") == {"good-one": version}
