"""Which packages and channels of conda can be written into manylab.toml."""

from __future__ import annotations

import pytest

from manylab.config import conda_packages
from manylab.config.values import Wrong


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("numpy", "numpy"),
        ("numpy>=2,<3", "numpy"),
        ("numpy =1.26", "numpy"),
        ("pytorch=2.*=cpu_*", "pytorch"),
        ("conda-forge::NumPy>=2", "numpy"),
        ("numpy[version='>=2', build='py*']", "numpy"),
        ("_openmp_mutex", "_openmp_mutex"),
    ],
)
def test_a_match_spec_is_taken_as_it_is_and_its_name_is_known(spec, name):
    assert conda_packages.match_spec(spec) == spec
    assert conda_packages.name(spec) == name


@pytest.mark.parametrize("spec", ["", "-r x", "https://me:secret@x/y.conda", "../x", "numpy; x", "a\nb", 7, "/etc/x"])
def test_what_is_no_package_is_refused_and_no_secret_is_repeated(spec):
    with pytest.raises(Wrong) as caught:
        conda_packages.match_spec(spec)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "good", ["conda-forge", "conda-forge/label/dev", "https://example.org/c", "file:///srv/channel"]
)
def test_a_channel_has_a_name_or_an_address(good):
    assert conda_packages.channel(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "../x",
        "-x",
        "ftp://x/y",
        "https://me:secret@x/y",
        "https://x/t/secret/y",
        "https://x/y?token=secret",
        "https://",
    ],
)
def test_a_channel_with_a_secret_or_without_sense_is_refused(bad):
    with pytest.raises(Wrong) as caught:
        conda_packages.channel(bad)
    assert "secret" not in str(caught.value)
