"""How many children of a nursery an account may have, and who none."""

from __future__ import annotations

import pytest

from manylab.warm import guests
from manylab.warm.guests import Guests

SPEC = {"peers": None, "min_uid": 1000, "refuse": [1005]}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(guests.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def nobodys(tmp_path):
    file = tmp_path / "subuid"
    file.write_text("eve:100000:65536\n")
    return file


def test_the_nursery_of_servers_is_for_one_account_alone():
    one = Guests({**SPEC, "peers": 0})
    assert one.may_have_another(0)
    assert not one.may_have_another(1001)


def test_system_accounts_and_those_of_manylab_have_none(nobodys):
    one = Guests(SPEC, nobodys)
    assert [one.may_have_another(uid) for uid in (0, 999, 1005, 1001)] == [False, False, False, True]


def test_subordinate_uids_have_none_as_long_as_the_file_says_so(nobodys):
    one = Guests(SPEC, nobodys)
    assert [one.may_have_another(uid) for uid in (99_999, 100_000, 165_535, 165_536)] == [True, False, False, True]
    nobodys.unlink()
    assert one.may_have_another(100_000)


def test_who_connects_without_end_is_slowed_down_and_nobody_else(clock, nobodys):
    one = Guests(SPEC, nobodys)
    assert [one.may_have_another(1001) for _ in range(41)] == [True] * 40 + [False]
    assert one.may_have_another(1002)
    clock[0] += 0.5
    assert [one.may_have_another(1001) for _ in range(6)] == [True] * 5 + [False]


def test_children_that_nobody_vouches_for_are_few(clock, nobodys):
    one = Guests(SPEC, nobodys)
    for _ in range(24):
        assert one.may_have_another(1001)
        one.began(1001)
    assert not one.may_have_another(1001)
    one.proven(1001)
    assert one.may_have_another(1001)


def test_living_children_are_limited_and_make_room_when_they_end(clock, nobodys):
    one = Guests(SPEC, nobodys)
    for _ in range(500):
        clock[0] += 1
        assert one.may_have_another(1001)
        one.began(1001)
        one.proven(1001)
    clock[0] += 1
    assert not one.may_have_another(1001)
    one.ended(1001)
    assert one.may_have_another(1001)
