"""Who is a member, and what happens to whoever is not any more."""

import asyncio
import grp
import pwd
from types import SimpleNamespace

import pytest

from manylab.hub.membership import Members, Standing

GROUP = SimpleNamespace(gr_gid=500, gr_mem=["alice", "stale"])
ACCOUNTS = {
    "alice": SimpleNamespace(pw_uid=1001, pw_gid=1001),
    "primary": SimpleNamespace(pw_uid=1002, pw_gid=500),
    "listed": SimpleNamespace(pw_uid=1003, pw_gid=1003),
    "bob": SimpleNamespace(pw_uid=1004, pw_gid=1004),
    "toor": SimpleNamespace(pw_uid=0, pw_gid=500),
}


@pytest.fixture
def machine(monkeypatch):
    def account(name):
        return ACCOUNTS[name]

    monkeypatch.setattr(grp, "getgrnam", lambda name: {"manylab": GROUP}[name])
    monkeypatch.setattr(pwd, "getpwnam", account)
    # A directory that knows the groups of a person without listing the members of a group.
    monkeypatch.setattr("os.getgrouplist", lambda name, gid: [gid, 500] if name == "listed" else [gid])


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("alice", Standing.MEMBER),
        ("primary", Standing.MEMBER),
        ("listed", Standing.MEMBER),
        ("bob", Standing.LEFT),
        ("toor", Standing.LEFT),
        ("nobody-there", Standing.GONE),
        ("stale", Standing.UNKNOWN),
        ("Alice", Standing.GONE),
        ("../alice", Standing.GONE),
    ],
)
def test_what_the_machine_says(machine, name, standing):
    assert Members("manylab").look(name) is standing


def test_when_the_group_cannot_be_looked_up_nobody_is_thrown_out(machine):
    assert Members("away").look("alice") is Standing.UNKNOWN
    assert Members("away").look("bob") is Standing.UNKNOWN


def test_the_site_of_one_person_asks_no_group(machine):
    alone = Members("away", person="bob")
    assert alone.look("bob") is Standing.MEMBER
    assert alone.look("alice") is Standing.LEFT


def test_many_are_looked_up_in_a_thread(machine):
    assert asyncio.run(Members("manylab").standings(["alice", "bob"])) == {
        "alice": Standing.MEMBER,
        "bob": Standing.LEFT,
    }


def todo(*arguments):
    pytest.importorskip("jupyterhub")
    from manylab.hub.members import todo as real

    return real(*arguments)


def test_leaving_the_group_ends_things_at_once():
    assert todo({"bob": Standing.LEFT, "alice": Standing.MEMBER}, set(), set(), []) == {"bob"}


def test_a_deleted_account_is_believed_at_the_second_look():
    assert todo({"bob": Standing.GONE}, set(), set(), ["bob"]) == set()
    assert todo({"bob": Standing.GONE}, {"bob"}, set(), ["bob"]) == {"bob"}


def test_not_knowing_ends_nothing():
    assert todo({"bob": Standing.UNKNOWN}, {"bob"}, {"bob"}, ["bob"]) == set()


def test_whoever_was_shut_out_is_left_alone_unless_something_of_theirs_still_runs():
    assert todo({"bob": Standing.LEFT}, set(), {"bob"}, []) == set()
    assert todo({"bob": Standing.LEFT}, set(), {"bob"}, ["bob"]) == {"bob"}
