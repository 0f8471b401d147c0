"""What people ask for is written into manylab.toml as they would write it, and locks are kept by request."""

from __future__ import annotations

from pathlib import Path

import pytest

from manylab.apply import packages
from manylab.base.errors import NotFound
from manylab.base.layout import system_layout
from manylab.config.load import parse
from manylab.model.environments import Request
from manylab.model.facts import Python
from manylab.plan.packages import Moved
from manylab.system import locks

TEXT = """\
# ours
[envs.default]
# the course of spring
packages = ["scientific", "polars"]  # quick
preload = ["auto", "polars"]
"""


def test_going_back_changes_what_was_asked_for_and_keeps_comments():
    asked = {"packages": ["scientific"], "python": ">=3.10", "backend": "uv"}
    assert packages.edited(TEXT, "default", asked) == TEXT.replace(', "polars"]  #', "]  #")
    again = packages.edited(TEXT, "default", {**asked, "packages": ["scientific", "polars"]})
    assert again == TEXT
    other = parse(packages.edited(TEXT, "default", {**asked, "python": "==3.12.*"})).envs["default"]
    assert (list(other.packages), str(other.python)) == (["scientific"], "==3.12.*")


def test_an_environment_that_was_taken_out_of_the_file_comes_back():
    text = packages.edited("", "course", {"packages": ["numpy"], "python": ">=3.10", "backend": "uv"})
    assert list(parse(text).envs["course"].packages) == ["numpy"]


def test_a_new_environment_has_only_what_was_asked_for():
    text = packages.with_packages(TEXT, "course", add=["numpy", "numpy>=2"])
    assert list(parse(text).envs["course"].packages) == ["numpy>=2"]
    with pytest.raises(NotFound):
        packages.with_packages(TEXT, "course", remove=["numpy"])
    with pytest.raises(NotFound):
        packages.with_packages(TEXT, "default", remove=["numpy"])


def test_a_lock_of_the_site_s_own_goes_before_the_shipped_one_until_they_are_the_same(tmp_path: Path):
    layout = system_layout(tmp_path)
    asked = Request("default", Python("/usr/bin/python3", "3.11.2"), "scientific", ("numpy",))
    shipped = locks.shipped("scientific")
    assert locks.find(layout, asked) == shipped
    locks.keep(layout, asked, "numpy==99\n")
    assert locks.find(layout, asked) == "numpy==99\n"
    locks.keep(layout, asked, shipped)
    assert locks.find(layout, asked) == shipped and not locks.solved_path(layout, asked).exists()


def test_of_two_wishes_for_one_package_in_one_breath_none_is_dropped():
    text = '[envs.course]\npackages = ["numpy"]  # theirs\n'
    text = packages.with_packages(text, "course", add=["numpy>=2", "polars", "NumPy<2"])
    assert text == '[envs.course]\npackages = ["numpy>=2", "polars", "NumPy<2"]  # theirs\n'
    assert (
        packages.with_packages(text, "course", remove=["numpy"]) == '[envs.course]\npackages = ["polars"]  # theirs\n'
    )


def test_sizes_are_told_in_words():
    assert [packages.shown_size(size) for size in (0, 20, 12_345, 14_100_000, 2_340_000_000)] == [
        *("0 MB", "0.0 kB", "12.3 kB", "14.1 MB", "2.34 GB"),
    ]
    moved = Moved("six", None, "1.0")
    assert packages.in_words_with_size(moved, {"six": 11_050}) == "+ six 1.0  11.1 kB to download"
    assert packages.in_words_with_size(Moved("six", "1.0", None), {"six": 11_050}) == "- six 1.0"
