"""What `plan` says of each kind of thing: nothing when it is right, one line for each difference when it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manylab.apply.converge import leftovers
from manylab.model.resources import Account, Directory, Environment, File, Group, Link, Secret, Service
from manylab.plan import show
from manylab.plan.diff import Change, diff

FILE = File(Path("/etc/x"), "one\ntwo\nthree\n", 0o644, "root", "root")
FOLDER = Directory(Path("/var/x"), 0o700, "manylab", "manylab-hub")
LINK = Link(Path("/opt/x/current"), "abc")
GROUP = Group("manylab", system=False)
ACCOUNT = Account("manylab", "manylab-hub", ("manylab-proxy",))
ENVIRONMENT = Environment(
    "default",
    Path("/opt/x/abc"),
    "abc",
    "/usr/bin/python3",
    "3.11",
    "numpy==1 \\\n    --hash=sha256:a==\n# b==2\nscipy==3\n",
)
SERVICE = Service("manylab-hub", revision="r1")
SECRET = Secret("token", ((Path("/var/x/token"), "manylab", "manylab", "{}\n"),))
ALL = (FILE, FOLDER, LINK, GROUP, ACCOUNT, ENVIRONMENT, SERVICE, SECRET)


def why(want, have) -> tuple[str, ...]:
    """The lines of the change; () without one."""
    change = diff(want, have)
    assert change is None or (change.key, change.action) == (want.key, "update")
    return change.why if change else ()


@pytest.mark.parametrize("want", ALL, ids=lambda item: item.key)
def test_what_is_as_it_should_be_is_left_alone(want):
    assert diff(want, want) is None


@pytest.mark.parametrize("want", ALL, ids=lambda item: item.key)
def test_what_is_missing_is_created(want):
    expected = ("2 packages",) if want is ENVIRONMENT else ()
    assert diff(want, None) == Change(want.key, "create", expected)


@pytest.mark.parametrize(
    ("want", "have"), [(FILE, FOLDER), (FOLDER, FILE), (LINK, FILE), (FILE, LINK)], ids=lambda item: item.key
)
def test_something_else_in_its_place_is_said(want, have):
    assert why(want, have) == ("is something else",)


def test_a_file_is_compared_by_content_mode_and_owner():
    assert why(FILE, replace(FILE, mode=0o600)) == ("mode is 0600, should be 0644",)
    assert why(FILE, replace(FILE, owner="bin", group="adm")) == (
        "owner is bin, should be root",
        "group is adm, should be root",
    )
    assert why(FILE, replace(FILE, content="one\n2\nthree\n")) == (" one", "-2", "+two", " three")


def test_whoever_runs_manylab_owns_what_has_no_owner_of_its_own():
    assert why(replace(FILE, owner="", group=""), replace(FILE, owner="carol", group="carol")) == ()


def test_the_content_of_a_secret_file_is_never_shown():
    assert why(replace(FILE, secret=True), replace(FILE, content="hunter2")) == ("content differs",)


def test_a_volatile_file_is_only_compared_by_mode():
    volatile = replace(FILE, volatile=True)
    assert why(volatile, replace(FILE, content="what a person wrote")) == ()
    assert why(volatile, replace(FILE, content="what a person wrote", mode=0o666)) == ("mode is 0666, should be 0644",)


def test_a_long_difference_is_cut_and_says_how_much_is_left():
    lines = why(replace(FILE, content="\n".join(map(str, range(100)))), replace(FILE, content=""))
    assert len(lines) == 41 and lines[-1] == "... 60 more lines"


def test_a_special_bit_of_a_folder_is_part_of_its_mode():
    assert why(replace(FOLDER, mode=0o2750), replace(FOLDER, mode=0o750)) == ("mode is 0750, should be 2750",)


def test_a_moved_link_is_said():
    assert why(LINK, replace(LINK, target="old")) == ("points to old, should be abc",)


def test_an_account_may_be_in_more_groups_than_manylab_needs():
    assert why(ACCOUNT, replace(ACCOUNT, groups=("adm", "manylab-proxy"))) == ()
    assert why(ACCOUNT, replace(ACCOUNT, groups=())) == ("not in group manylab-proxy",)
    assert why(ACCOUNT, replace(ACCOUNT, group="users")) == ("group is users, should be manylab-hub",)


def test_a_group_is_there_or_not():
    assert why(GROUP, replace(GROUP, system=True)) == ()


def test_an_environment_without_its_marker_is_incomplete():
    assert why(ENVIRONMENT, replace(ENVIRONMENT, digest="")) == ("is incomplete, should be abc",)


def test_a_service_is_compared_by_all_that_matters():
    have = replace(SERVICE, enabled=False, running=False, revision="")
    assert why(SERVICE, have) == ("enabled is no, should be yes", "running is no, should be yes")
    assert why(SERVICE, replace(SERVICE, revision="r0")) == ("runs with what was before this change",)


def test_a_secret_is_right_or_has_to_be_put_in_order():
    assert why(SECRET, replace(SECRET, copies=())) == ("a copy is missing, differs, or can be read by others",)


def test_what_a_generation_made_and_the_next_does_not_have_is_left_over():
    assert leftovers(["/etc/x", "/etc/old", "/opt/x/current"], [FILE, LINK, FOLDER]) == ["/etc/old"]


def test_nothing_to_change_is_a_sentence():
    assert show.as_text([]) == "Nothing to change: the machine is as the configuration says."
    assert show.as_json([]) == []


def test_changes_are_shown_with_a_sign_reasons_and_a_count():
    changes = [
        Change("file /etc/x", "update", ("mode is 0600, should be 0644",)),
        Change("link /a", "create"),
        Change("file /b", "remove"),
        Change("link /c", "create"),
    ]
    assert show.as_text(changes).splitlines() == [
        "~ file /etc/x",
        "    mode is 0600, should be 0644",
        "+ link /a",
        "- file /b",
        "+ link /c",
        "",
        "2 to create, 1 to update, 1 to remove.",
    ]
    assert show.as_json(changes)[0] == {
        "resource": "file /etc/x",
        "action": "update",
        "why": ["mode is 0600, should be 0644"],
    }
