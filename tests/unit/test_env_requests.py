"""What people ask for is written into manylab.toml as they would write it, and locks are kept by request."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from manylab.apply import packages
from manylab.base.errors import ConfigError, NotFound, Refused
from manylab.base.layout import system_layout
from manylab.config.load import parse
from manylab.model import environments as model_environments
from manylab.model.environments import Request
from manylab.model.facts import Facts, Python
from manylab.model.resources import Asked
from manylab.plan.packages import Moved
from manylab.system import locks
from manylab.system.registries import with_indexes

FACTS = Facts(
    system=True, person="", home="/root", service="", systemd_runs=False, source_digest={},
    pythons=(Python("/usr/bin/python3", "3.11.2"),),
)  # fmt: skip

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
    text = packages.with_packages(TEXT, "course", add=["numpy", "numpy>=2"], new=True)
    assert list(parse(text).envs["course"].packages) == ["numpy>=2"]
    with pytest.raises(Refused):
        packages.with_packages(text, "course", add=["numpy"], new=True)
    with pytest.raises(NotFound):
        packages.with_packages(TEXT, "course", remove=["numpy"])
    with pytest.raises(NotFound):
        packages.with_packages(TEXT, "default", remove=["numpy"])


def test_a_misspelt_name_makes_no_environment():
    with pytest.raises(NotFound) as refused:
        packages.with_packages(TEXT, "defualt", add=["polars"])
    assert "did you mean 'default'?" in refused.value.hint


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


def test_an_index_of_one_environment_goes_first_and_only_there():
    text = '[envs.course]\npackages = ["numpy"]\nindexes = ["https://wheels.example.org/simple"]\n'
    inputs = dict.fromkeys(("hub", "server", "proxy", "scientific"), ("numpy",))
    course, default = (
        next(one for one in model_environments.requests(parse(text), FACTS, inputs) if one.name == name)
        for name in ("course", "default")
    )
    assert course.asked is not None and course.asked.indexes == ("https://wheels.example.org/simple",)
    assert default.asked is not None and default.asked.indexes == () and default.shipped == "scientific"
    network = {"UV_INDEX": "https://site.example.org/simple", "UV_DEFAULT_INDEX": "https://all.example.org/simple"}
    found = with_indexes(network, course.asked.indexes)
    assert found["UV_INDEX"] == "https://wheels.example.org/simple https://site.example.org/simple"
    assert with_indexes(network, default.asked.indexes) == network


def test_what_is_not_asked_for_does_not_change_the_names_of_locks():
    asked = Asked(("numpy",), ">=3.10", "uv")
    one = Request("course", Python("/usr/bin/python3", "3.11.2"), "", ("numpy",), asked)
    assert one.digest == dataclasses.replace(one, asked=None).digest
    for more in ({"indexes": ("https://x.example.org",)}, {"source": ("numpy",)}):
        other = dataclasses.replace(one, asked=dataclasses.replace(asked, **more))
        assert other.digest != one.digest


def test_going_back_also_goes_back_to_other_indexes():
    text = '[envs.course]\npackages = ["numpy"]\nindexes = ["https://x.example.org"]\nsource = ["numpy"]\n'
    before = Asked(("numpy",), ">=3.10", "uv").as_data()
    assert packages.edited(text, "course", before) == '[envs.course]\npackages = ["numpy"]\n'
    again = Asked(("numpy",), ">=3.10", "uv", source=("numpy",), indexes=("https://x.example.org",)).as_data()
    back = parse(packages.edited('[envs.course]\npackages = ["numpy"]\n', "course", again)).envs["course"]
    assert (back.source, back.indexes) == (("numpy",), ("https://x.example.org",))


@pytest.mark.parametrize(
    "value", ["packages.example.org", "https://me:secret@x.org/simple", "ftp://x.org", "https://a b"]
)
def test_what_is_no_index_is_refused_and_no_secret_is_repeated(value):
    with pytest.raises(ConfigError) as failure:
        parse(f"[envs.course]\nindexes = [{value!r}]\n")
    assert "secret" not in str(failure.value.as_json())
