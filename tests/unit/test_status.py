"""What `status` and `logs` make of systemd's answer, the supervisor's record and log files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manylab.base.layout import system_layout
from manylab.cli import look_commands
from manylab.cli.look import follow, status, versions
from manylab.cli.look.parts import DEAD, RUNNING, STOPPED, UNKNOWN, from_supervisor, from_systemd
from manylab.supervise import control
from manylab.supervise.processes import Identity
from manylab.supervise.record import Record, ServiceRecord


def unit(name, state="active", sub="running", pid=7, restarts=0, load="loaded", enabled="enabled"):
    return (
        f"Id={name}\nLoadState={load}\nActiveState={state}\nSubState={sub}\nUnitFileState={enabled}\n"
        f"MainPID={pid}\nNRestarts={restarts}\nActiveEnterTimestampMonotonic=5000000\nResult=success\n"
    )


def systemd(umbrella=None, **parts):
    names = ("warden", "proxy", "hub")
    blocks = [umbrella or unit("manylab.service")]
    return "\n".join([*blocks, *(parts.get(name) or unit(f"manylab-{name}.service") for name in names)])


def test_a_site_whose_units_are_all_active_runs():
    found = from_systemd(systemd(), booted=100.0)
    assert (found.code, found.text, found.since) == (RUNNING, "running", 105.0)
    assert [(part.name, part.pid) for part in found.parts] == [("warden", 7), ("proxy", 7), ("hub", 7)]


def test_a_part_that_systemd_keeps_starting_again_makes_the_site_dead():
    hub = unit("manylab-hub.service", "activating", "auto-restart", 0, 4)
    found = from_systemd(systemd(hub=hub), 0.0)
    assert (found.code, found.parts[2].state, found.parts[2].restarts) == (DEAD, "failed", 4)


def test_a_part_that_starts_is_not_dead():
    found = from_systemd(systemd(hub=unit("manylab-hub.service", "activating", "start")), 0.0)
    assert (found.code, found.text) == (RUNNING, "running, not ready: hub activating")


def test_a_site_that_was_stopped_is_stopped_though_it_starts_at_boot():
    stopped = {name: unit(f"manylab-{name}.service", "inactive", "dead", 0) for name in ("warden", "proxy", "hub")}
    found = from_systemd(systemd(unit("manylab.service", "inactive", "dead", 0), **stopped), 0.0)
    assert (found.code, found.text) == (STOPPED, "stopped (starts at boot)")


def test_when_systemd_says_nothing_nothing_is_known():
    assert from_systemd("", 0.0).code == UNKNOWN


def record(state):
    service = ServiceRecord("hub", state, 9, 1, 50.0, 50.0, 2, 0.0, "", None, True)
    return Record("foreground", "boot", 40.0, 60.0, Identity(8, 1, "boot"), None, False, (service,))


def test_the_supervisor_s_record_says_what_runs():
    found = from_supervisor(control.Status(0, "manylab is running (pid 8)", record("running")))
    assert (found.code, found.text, found.since) == (RUNNING, "running (pid 8)", 40.0)
    assert found.parts[0].running and found.parts[0].restarts == 2


def test_a_record_without_its_supervisor_says_nothing_about_the_parts():
    found = from_supervisor(control.Status(1, "manylab is dead and left its pid file", record("running")))
    assert found.code == DEAD and not found.parts[0].running


def test_without_a_site_the_answer_is_stopped_and_how_to_begin(monkeypatch, tmp_path):
    monkeypatch.setenv("MANYLAB_ROOT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(look_commands.typer.Exit) as ended:
        look_commands.status(as_json=False)
    assert ended.value.exit_code == 3


def test_the_text_names_people_servers_and_what_is_not_known():
    data = {
        "state": "running", "code": 0, "since": 0.0, "address": "http://127.0.0.1:8000/", "answers": False,
        "unknown": ["why"],
        "generation": {"number": 3, "when": 0.0}, "versions": {"JupyterHub": "6.1"}, "people": ["alice", "bob"],
        "parts": [{"name": "hub", "state": "running", "pid": 7, "restarts": 2}],
        "servers": [{"user": "alice", "server": "", "pid": 9, "since": 60.0, "memory": 100 << 20}],
    }  # fmt: skip
    text = status.as_text(data, now=7260.0)
    assert "ended for memory" not in text
    assert "manylab is running, for 2 h 1 min" in text
    assert "does not answer yet" in text
    assert "hub         running, pid 7, started again 2 times" in text
    assert "2 may sign in: alice, bob" in text
    assert "alice  (default)  9    2 h 0 min ago  100 MiB" in text
    assert "not known: why" in text


def test_who_used_up_their_memory_is_named():
    one = {"user": "alice", "server": "", "pid": 9, "since": 60.0, "memory": 100 << 20, "memory_limit": 2 << 30}
    data = {"state": "running", "code": 0, "unknown": [], "versions": {}, "parts": []}
    text = status.as_text({**data, "servers": [{**one, "ended_for_memory": 2}]}, now=7260.0)
    assert "100 MiB of 2G" in text
    assert text.endswith("alice: 2 kernels or other processes ended for memory (limit 2G)")


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (65, "1 min"), (3700, "1 h 1 min"), (200000, "2 days"), (-3, "0 s")]
)
def test_durations_are_short(seconds, words):
    assert status.duration(seconds) == words


def test_versions_are_read_from_disk(tmp_path):
    layout = system_layout(tmp_path)
    packages = layout.env_current("hub") / "lib/python3.11/site-packages"
    (packages / "jupyterhub-6.1.1.dist-info").mkdir(parents=True)
    (packages / "manylab").mkdir()
    (packages / "manylab/__init__.py").write_text('__version__ = "0.1.0"\n')
    layout.env_current("default").mkdir(parents=True)
    (layout.env_current("default") / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.2\n")
    assert versions.observe(layout) == {"manylab": "0.1.0", "JupyterHub": "6.1.1", "Python": "3.11.2"}


def test_a_log_that_somebody_made_four_terabytes_long_is_shown_all_the_same(tmp_path):
    log = tmp_path / "server-eve.log"
    log.write_bytes(b"before\n")
    follower = follow.Follower(log, 7)
    with log.open("r+b") as file:
        file.truncate(1 << 42)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    assert follow.last_lines(log, 3)[0][-1] == "the end"
    assert list(follower.lines())[-1] == "the end"


def test_the_last_lines_of_a_long_log_are_found(tmp_path):
    log = tmp_path / "hub.log"
    log.write_text("".join(f"{number} {'x' * 90}\n" for number in range(5000)))
    lines, end = follow.last_lines(log, 3)
    assert [line.split()[0] for line in lines] == ["4997", "4998", "4999"]
    assert end == log.stat().st_size
    assert follow.last_lines(log, 0)[0] == []


def test_a_log_is_followed_through_being_cut_and_being_replaced(tmp_path):
    log = tmp_path / "hub.log"
    log.write_text("old\n")
    follower = follow.Follower(log, *reversed((log.stat().st_ino, log.stat().st_size)))
    with log.open("a") as file:
        file.write("one\nhal")
    assert list(follower.lines()) == ["one"]
    with log.open("a") as file:
        file.write("f\n")
    assert list(follower.lines()) == ["half"]
    log.write_text("cut\n")
    assert list(follower.lines()) == ["cut"]
    log.rename(tmp_path / "hub.log.1")
    log.write_text("a new and longer file\n")
    assert list(follower.lines()) == ["a new and longer file"]


def test_logs_are_chosen_by_part_or_person(tmp_path):
    for name in ("hub", "proxy", "warden", "server-al", "server-alice"):
        (tmp_path / f"{name}.log").write_text("")

    def names(what):
        return [follow.name_of(path) for path in follow.chosen(tmp_path, what)]

    assert names("hub") == ["hub"]
    assert names("al") == ["server-al"]
    assert names("servers") == ["server-al", "server-alice"]
    assert len(names("")) == 5


def test_what_people_s_servers_log_cannot_drive_root_s_terminal():
    assert follow.printable("\x1b[32minfo\x1b[39m: \x1b]0;evil\x07\tdone") == "info: �]0;evil�\tdone"


def test_the_journal_is_asked_for_the_units_of_a_part():
    command = look_commands.journal_command("hub", [], 10, following=True, as_json=False)
    assert "--follow" in command and "--lines=10" in command
    assert command[-4:] == ["_SYSTEMD_UNIT=manylab-hub.service", "+", "UNIT=manylab-hub.service", "_PID=1"]


def test_the_journal_is_asked_for_one_person_s_scopes():
    scope = "manylab-server-alice-_-0123abcd.scope"
    command = look_commands.journal_command("alice", [scope], 10, following=False, as_json=False)
    assert command[-1] == f"_SYSTEMD_UNIT={scope}" and "+" not in command


def test_the_scopes_of_people_whose_names_begin_alike_are_told_apart():
    al, alice = "manylab-server-al-_-0123abcd.scope", "manylab-server-al-ice-_-0123abcd.scope"
    gpu = "manylab-server-al-my-gpu-0123abcd.scope"
    assert look_commands.scopes_of("al", [al, alice, gpu, "manylab-hub.service"]) == [al, gpu]


def test_the_whole_journal_of_a_site_has_parts_and_servers():
    command = " ".join(look_commands.journal_command("", [], 10, following=False, as_json=True))
    assert command.count("_SYSTEMD_UNIT=") == 3
    assert command.endswith("+ _SYSTEMD_SLICE=manylab-servers.slice")


@pytest.mark.parametrize(
    ("program", "now", "older"),
    [
        ("/opt/manylab/envs/server/aaa/bin/python", "aaa", False),
        ("/opt/manylab/envs/server/aaa/bin/python", "bbb", True),
        ("/opt/manylab/envs/server/aaa/bin/python", "", False),
        ("/opt/manylab/envs/default/aaa/bin/python", "bbb", False),
        ("", "bbb", False),
        ("\udcff/opt", "bbb", False),
    ],
)
def test_a_server_of_another_generation_than_new_ones_is_older(program, now, older):
    line = program.encode("utf-8", "surrogateescape") + b"\0-I\0-m\0manylab.lab\0"
    assert status.of_before(line, Path("/opt/manylab/envs/server"), now) is older


def test_how_many_servers_are_older_is_said():
    one = {"user": "alice", "server": "", "pid": 5, "since": 0.0, "memory": 1 << 20, "older": True}
    data = {"state": "running", "code": RUNNING, "since": None, "versions": {}, "parts": [], "unknown": []}
    assert "1 of them from before" in status.as_text({**data, "servers": [one]}, now=60.0)
    assert "from before" not in status.as_text({**data, "servers": [{**one, "older": False}]}, now=60.0)
