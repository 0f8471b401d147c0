"""Which limits hold for whom: from manylab.toml to warden.json, and from there to one person."""

from __future__ import annotations

import pytest

from manylab.base.limits import Limits, resolve
from manylab.config.load import parse
from manylab.model.facts import Facts
from manylab.model.hub import own_limits, total_memory
from manylab.system.facts import memory_of_machine

GIB = 1 << 30
USUAL = Limits(2 * GIB, 2.0, 4096)
SAID = {
    "groups": {"staff": {"memory": 8 * GIB}, "students": {"memory": GIB, "cpu": 0.5}, "free": {"cpu": None}},
    "people": {"alice": {"cpu": 4.0}, "bob": {"memory": None}},
}


@pytest.mark.parametrize(
    ("name", "groups", "expected"),
    [
        ("carol", [], USUAL),
        ("carol", ["nobody-s"], USUAL),
        ("carol", ["students"], Limits(GIB, 0.5, 4096)),
        ("carol", ["students", "staff"], Limits(8 * GIB, 0.5, 4096)),
        ("carol", ["students", "free"], Limits(GIB, None, 4096)),
        ("alice", [], Limits(2 * GIB, 4.0, 4096)),
        ("alice", ["free", "students"], Limits(GIB, 4.0, 4096)),
        ("bob", ["students"], Limits(None, 0.5, 4096)),
    ],
)
def test_one_s_own_limit_wins_then_the_most_generous_group_then_everybody_s(name, groups, expected):
    assert resolve(SAID, USUAL, name, groups) == expected


def test_without_any_table_everybody_has_the_same():
    assert resolve({}, USUAL, "alice", ["staff"]) == USUAL


def test_the_file_s_words_become_numbers_and_what_is_not_said_is_not_there():
    config = parse(
        '[limits.groups.staff]\nmemory = "8G"\ncpu = "none"\n[limits.people.alice]\ntasks = 8192\ncpu = "default"'
    )
    assert own_limits(config.limits.groups) == {"staff": {"memory": 8 * GIB, "cpu": None}}
    assert own_limits(config.limits.people) == {"alice": {"tasks": 8192}}


@pytest.mark.parametrize(
    ("setting", "memory", "expected"),
    [
        ("auto", 64 * GIB, 60 * GIB),  # 4 GiB are kept at most
        ("auto", 20 * GIB, 18 * GIB),
        ("auto", 2 * GIB, 2 * GIB - (512 << 20)),  # and 512 MiB at least
        ("auto", 512 << 20, 256 << 20),  # but no more than half
        ("auto", 0, None),
        ("none", 64 * GIB, None),
        ("24G", 0, 24 * GIB),
    ],
)
def test_all_servers_together_leave_something_for_the_machine(setting, memory, expected):
    facts = Facts(True, "", "", "", True, (), {}, memory=memory)
    assert total_memory(parse(f'[servers]\ntotal_memory = "{setting}"'), facts) == expected


def test_a_little_more_or_less_memory_at_the_next_boot_changes_nothing():
    config = parse("")
    totals = {
        total_memory(config, Facts(True, "", "", "", True, (), {}, memory=8 * GIB - n)) for n in range(0, 1 << 20, 4096)
    }
    assert len(totals) <= 2


def test_a_container_has_the_memory_it_is_given(tmp_path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       16384 kB\nMemFree: 1 kB\n")
    assert memory_of_machine(meminfo, (limit,)) == 16 << 20
    limit.write_text("max\n")
    assert memory_of_machine(meminfo, (limit,)) == 16 << 20
    limit.write_text("1048576\n")
    assert memory_of_machine(meminfo, (limit,)) == 1 << 20
    assert memory_of_machine(tmp_path / "nothing", ()) == 0
