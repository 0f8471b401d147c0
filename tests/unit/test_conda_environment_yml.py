"""environment.yml: what is taken from it, what is refused, and what is written."""

from __future__ import annotations

import textwrap

import pytest

from manylab.base.errors import EnvironmentFailed
from manylab.model.conda_lock import Lock, Package
from manylab.system.conda.environment_yml import exact_pip, read, write, write_exact

USUAL = """
name: course
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - numpy>=2
  - pytorch=2.*=cpu_*
  - pip
  - pip:
      - nbgitpuller>=1.2
      - "requests[socks]==2.32.3"
prefix: /home/somebody/miniconda3/envs/course
"""


def test_a_usual_file_becomes_settings_of_an_environment():
    found = read(USUAL)
    assert (found.name, found.python, found.channels) == ("course", "==3.12.*", ("conda-forge",))
    assert found.packages == ("numpy>=2", "pytorch=2.*=cpu_*")
    assert found.pip == ("nbgitpuller>=1.2", "requests[socks]==2.32.3")
    assert any("prefix" in note for note in found.notes) and any("pip" in note for note in found.notes)


@pytest.mark.parametrize(
    ("spec", "setting"),
    [
        ("python", ""),
        ("python=3.11", "==3.11.*"),
        ("python=3.11.4", "==3.11.4"),
        ("python=3.11.*", "==3.11.*"),
        ("python==3.11.4", "==3.11.4"),
        ("python >=3.10,<3.13", ">=3.10,<3.13"),
        ("python=3.11.4=h955ad1f_0", "==3.11.4"),
    ],
)
def test_python_is_written_as_the_setting_has_it(spec, setting):
    assert read(f"dependencies: ['{spec}']").python == setting


def test_the_channel_defaults_is_not_taken_over_in_silence():
    found = read("{channels: [defaults, conda-forge], dependencies: [numpy]}")
    assert found.channels == ("conda-forge",) and any("defaults" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dependencies: [numpy, {pip: ['-r requirements.txt']}]", "-r, another file"),
        ("dependencies: [{pip: ['-e .']}]", "-e, a folder"),
        ("dependencies: [{pip: ['--index-url https://x/simple']}]", "an option of pip"),
        ("dependencies: [{pip: ['git+https://token@example.org/x.git']}]", "an address or a folder"),
        ("dependencies: [{pip: ['x @ git+https://token@example.org/x.git']}]", "x from an address"),
        ("dependencies: [{pip: ['./here']}]", "an address or a folder"),
        ("dependencies: [{npm: [x]}]", "not pip:"),
        ("dependencies: ['file:///tmp/x-1-0.conda']", "a file or an address"),
        ("dependencies: ['/tmp/x-1-0.tar.bz2']", "a file or an address"),
        ("dependencies: ['https://token@example.org/x-1-0.conda']", "a file or an address"),
        ("dependencies: ['-r x']", "not a package"),
        ("dependencies: [7]", "not a package"),
        ("channels: ['https://me:token@example.org/c']\ndependencies: [numpy]", "password or token"),
        ("channels: ['https://example.org/t/token/c']\ndependencies: [numpy]", "password or token"),
        ("channels: 7\ndependencies: [numpy]", "channels is not a list"),
        ("name: x", "no list of dependencies"),
        ("[1, 2]", "not an environment.yml"),
        ("dependencies: [", "not YAML (line"),
        ("dependencies: !!python/object/apply:os.system [echo]", "not YAML"),
    ],
)
def test_what_cannot_be_done_is_said_and_no_secret_is_repeated(text, reason):
    with pytest.raises(EnvironmentFailed) as caught:
        read(text)
    assert reason in caught.value.message and caught.value.hint
    assert "token@" not in caught.value.message and ":token" not in caught.value.message


def test_what_was_written_can_be_read_again():
    text = write("course", channels=["conda-forge"], python=">=3.11", packages=["numpy >=2"], pip=["attrs==24.1"])
    found = read(text)
    assert (found.name, found.python, found.channels) == ("course", ">=3.11", ("conda-forge",))
    assert (found.packages, found.pip) == (("numpy >=2",), ("attrs==24.1",))


def test_an_environment_of_uv_is_written_with_its_packages_in_the_pip_part():
    found = read(write("default", channels=[], python=">=3.10", packages=["numpy>=2", "pandas"], pip=[]))
    assert (found.packages, found.pip, found.python) == ((), ("numpy>=2", "pandas"), ">=3.10")


def test_the_exact_file_has_version_and_build_of_everything():
    def package(name: str, version: str) -> Package:
        channel = "https://example.org/main"
        url = f"{channel}/noarch/{name}-{version}-0.conda"
        return Package(name, version, "py_0", "noarch", channel, url, "0" * 64, 1)

    lines = ("attrs==24.1 \\", "    --hash=sha256:00 \\", "    --hash=sha256:11")
    text = write_exact("course", Lock("linux-64", (package("zlib", "1.3"), package("python", "3.12.4")), lines))
    assert text == textwrap.dedent("""\
        name: course
        channels:
        - https://example.org/main
        dependencies:
        - python=3.12.4=py_0
        - zlib=1.3=py_0
        - pip
        - pip:
          - attrs==24.1
        """)
    assert exact_pip(lines) == ("attrs==24.1",)
