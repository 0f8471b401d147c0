"""The site's kernels where every Jupyter of the machine looks."""

from __future__ import annotations

import pytest

from manylab.model.resources import KernelLinks
from manylab.plan.diff import diff
from manylab.system.environments import kernel_links


@pytest.fixture
def want(tmp_path):
    for name in ("python3", "manylab-course"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "kernel.json").write_text("{}")
    return KernelLinks(tmp_path / "site", tmp_path / "share/jupyter/kernels")


def test_every_kernel_of_the_site_has_a_link_and_one_that_is_gone_has_none(want):
    kernel_links.write(want)
    assert diff(want, kernel_links.observe(want)) is None
    assert (want.into / "manylab-course/kernel.json").read_text() == "{}"
    (want.folder / "python3/kernel.json").unlink()
    assert kernel_links.observe(want).differ == ("python3",)
    kernel_links.write(want)
    assert [path.name for path in want.into.iterdir()] == ["manylab-course"]


def test_kernels_that_somebody_else_put_there_stay(want):
    (want.into / "python3").mkdir(parents=True)
    (want.into / "bash").mkdir()
    kernel_links.write(want)
    assert diff(want, kernel_links.observe(want)) is None
    assert not (want.into / "python3").is_symlink()
    kernel_links.remove(want)
    assert sorted(path.name for path in want.into.iterdir()) == ["bash", "python3"]


def test_nothing_is_left_of_them(want, tmp_path):
    kernel_links.write(want)
    assert kernel_links.remove(want) == [str(want.into / "manylab-course"), str(want.into / "python3")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["share", "site"]
    assert kernel_links.remove(want) == []
