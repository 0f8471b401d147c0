"""When a kernel was ended for memory, and what its owner reads under the cell."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace

import pytest

from manylab.lab import memory, sentences, usage
from manylab.lab.endings import ExplainedKernelManager
from manylab.lab.memory import Ending, Meter, Reading, cause

BEFORE = Reading(kills=1, ours=5, others=7)
KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    ("now", "status", "expected"),
    [
        (Reading(2, 9, 7), KILLED, "server"),
        (Reading(2, 9, 7), 137, "server"),
        (Reading(2, 9, 7), None, "server"),
        (Reading(2, 5, 8), KILLED, "machine"),
        (Reading(2, 5, 7), KILLED, "machine"),  # the whole machine's own memory: no group counts that
        (Reading(1, 9, 9), KILLED, None),  # somebody's kill -9
        (Reading(2, 9, 7), -signal.SIGSEGV, None),
        (Reading(2, 9, 7), 0, None),
    ],
)
def test_only_an_end_that_the_machine_counted_is_one_for_memory(now, status, expected):
    assert cause(BEFORE, now, status, caged=True) == expected


def group(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_counters_of_version_1(tmp_path):
    above = group(tmp_path / "manylab", {"memory.failcnt": "3\n"})
    files = {"memory.failcnt": "12\n", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}
    files |= {"memory.limit_in_bytes": f"{1 << 29}\n", "memory.max_usage_in_bytes": f"{1 << 28}\n"}
    meter = Meter((group(above / "alice-_-0", files), above))
    assert meter.read() == Reading(2, 12, 3)
    assert (meter.caged, meter.limit(), meter.used()) == (True, 1 << 29, 1 << 28)
    group(above / "alice-_-0", {"memory.limit_in_bytes": "9223372036854771712\n"})
    assert meter.limit() is None


def test_the_counters_of_version_2_count_only_this_group_s_own_limit(tmp_path):
    above = group(tmp_path / "a.slice", {"memory.events": "oom 9\noom_kill 9\n", "memory.events.local": "oom 1\n"})
    files = {"memory.events": "low 0\nmax 44\noom 4\noom_kill 2\n", "memory.events.local": "oom 4\noom_kill 2\n"}
    files |= {"memory.max": "max\n", "memory.current": "77\n"}
    meter = Meter((group(above / "manylab-server-alice-_-0.scope", files), above))
    assert meter.read() == Reading(2, 4, 1)
    assert (meter.caged, meter.limit(), meter.used()) == (True, None, 77)


def test_without_a_group_of_one_s_own_the_machine_s_counter_is_read(tmp_path):
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 5\n")
    meter = Meter((), tmp_path / "vmstat")
    assert meter.read() == Reading(5)
    assert (meter.caged, meter.limit(), meter.used()) == (False, None, None)


def test_a_container_s_own_limit_is_the_machine_s_and_not_the_server_s(tmp_path):
    folder = group(tmp_path / "docker-1", {"memory.oom_control": "oom_kill 1\n", "memory.failcnt": "4"})
    assert Meter((folder,)).read() == Reading(1, 0, 4)


def test_this_process_has_a_meter_that_can_be_read():
    assert memory.meter().read().kills >= 0


def looks(*seen):
    """What a kernel manager makes of looks at (kills so far, status of the kernel): how often it says "for memory"."""
    readings, statuses = [Reading(kills, kills, 0) for kills, _ in seen], [status for _, status in seen]
    meter = SimpleNamespace(read=lambda: readings.pop(0), caged=True, limit=lambda: 1, used=lambda: 1)

    async def poll():
        return statuses.pop(0)

    ended = []
    manager = SimpleNamespace(_meter=meter, _before=Reading(), _kept=False, ended=ended.append)
    manager.provisioner = SimpleNamespace(poll=poll)
    while readings:
        asyncio.run(ExplainedKernelManager.look_at_memory(manager))
    return len(ended)


def test_a_kernel_that_was_ended_between_two_looks_was_ended_for_memory():
    assert looks((0, None), (1, KILLED)) == 1


def test_a_kernel_whose_end_becomes_known_one_look_later_too():
    assert looks((0, None), (1, None), (1, KILLED)) == 1


def test_a_kill_long_after_something_else_was_ended_for_memory_is_only_a_kill():
    assert looks((0, None), (1, None), (1, None), (1, KILLED)) == 0


def test_a_kernel_that_keeps_failing_is_explained_once():
    assert looks((0, None), (1, KILLED), (1, KILLED), (1, KILLED)) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("why", ["server", "machine"])
def test_people_read_how_much_they_used_and_what_the_limit_is(why, language):
    text = sentences.out_of_memory(Ending(why, 2 << 30, 1610612736, 0.0), language)
    assert "1.5 GB" in text
    assert ("2 GB" in text) == (why == "server")
    assert ("kernel" in text) == (language == "en")
    assert ("内核" in text) == (language == "zh")
    assert ("the machine ran out of memory" in text) == ((why, language) == ("machine", "en"))


@pytest.mark.parametrize("why", ["server", "machine"])
def test_what_is_not_known_is_not_said(why):
    assert "None" not in sentences.out_of_memory(Ending(why, None, None, 0.0), "en")


@pytest.mark.parametrize(
    ("amount", "words"), [(300 << 20, "300 MB"), (2 << 30, "2 GB"), (1610612736, "1.5 GB"), (10 << 30, "10 GB")]
)
def test_sizes_are_short(amount, words):
    assert sentences.size(amount) == words


def test_what_the_lab_shows_is_what_the_control_group_counts(tmp_path):
    own = tmp_path / "manylab-server-alice.scope"
    own.mkdir()
    (own / "memory.current").write_text("900\n")
    (own / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (own / "memory.max").write_text("650\n")
    (own / "memory.events").write_text("oom_kill 0\n")
    found = usage.answer(memory.Meter((own,)))
    assert found == {"rss": 600, "pss": 600, "limits": {"memory": {"rss": 650, "pss": 650, "warn": True}}}
    (own / "memory.max").write_text("max\n")
    assert usage.answer(memory.Meter((own,)))["limits"] == {"memory": {"rss": 0, "pss": 0}}
    assert usage.answer(memory.Meter()) is None
