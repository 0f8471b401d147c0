"""The warden's parts that need neither root nor another account: settings, registry, throttle, plans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from manylab.base.errors import AlreadyRunning, ConfigError, WardenUnavailable
from manylab.base.limits import Limits
from manylab.system import warden_client as client
from manylab.warden import accounts, processes, settings, spawn
from manylab.warden.accounts import Person
from manylab.warden.login import Throttle
from manylab.warden.messages import Refusal, Start
from manylab.warden.processes import Process
from manylab.warden.registry import Entry, Registry
from manylab.warden.sessions import Traits
from manylab.warden.talk import Talk

WARDEN_JSON = {
    "version": 1,
    "hub_uid": 998,
    "person_uid": None,
    "group": "manylab",
    "min_uid": 1000,
    "pam_service": "manylab",
    "web_group": "manylab-proxy",
    "socket": "/run/manylab/warden/warden.sock",
    "registry": "/run/manylab/warden/registry",
    "servers": "/run/manylab/servers",
    "python": "/opt/hub/bin/python",
    "path": ["/opt/default/bin", "/usr/bin"],
    "command": ["/opt/server/bin/python", "-I", "-m", "manylab.lab"],
    "environment": {"JUPYTER_PATH": "/opt/share", "TZ": "UTC"},
    "scopes": "systemd",
    "slice": "manylab-servers.slice",
    "memory": 2147483648,
    "cpu": 1.5,
    "tasks": 1000,
    "log_dir": None,
}
SITE = settings.parse(WARDEN_JSON)
ALICE = Person("alice", 1001, 1001, (1001, 50), "/home/alice", "/bin/bash")
ENTRY = Entry("alice", "", 1001, 4242, 77, "boot", 1.5, "/run/x/server.sock", None, "abcd")


def test_the_example_of_the_contract_is_accepted():
    assert (SITE.cpu, SITE.log_dir, SITE.command[0]) == (1.5, None, "/opt/server/bin/python")


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2},
        {"hub_uid": "998"},
        {"hub_uid": True},
        {"hub_uid": -1},
        {"min_uid": 0},
        {"person_uid": 0},
        {"group": "not/a group"},
        {"pam_service": "../x"},
        {"socket": "relative"},
        {"socket": "/run/../etc"},
        {"command": []},
        {"command": ["python"]},
        {"command": "/bin/sh"},
        {"path": ["/a:/b"]},
        {"path": [1]},
        {"environment": {"A=B": "x"}},
        {"environment": {"A": 1}},
        {"environment": {"A": "\0"}},
        {"scopes": "docker"},
        {"slice": "x"},
        {"memory": "2G"},
        {"cpu": 0},
        {"cpu": float("nan")},
        {"tasks": 0},
        {"unheard_of": 1},
    ],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ConfigError):
        settings.parse({**WARDEN_JSON, **wrong})


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match="hub_uid"):
        settings.parse({key: value for key, value in WARDEN_JSON.items() if key != "hub_uid"})


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(WARDEN_JSON)), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_no_settings_make_it_fail_in_another_way(changes):
    with contextlib.suppress(ConfigError):
        settings.parse({**WARDEN_JSON, **changes})


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_settings_that_others_can_write_are_refused(tmp_path, mode):
    path = tmp_path / "warden.json"
    path.write_text(json.dumps(WARDEN_JSON))
    path.chmod(0o640)
    assert settings.read(path) == SITE
    path.chmod(mode)
    with pytest.raises(ConfigError, match="written by others"):
        settings.read(path)


def test_settings_that_are_no_file_or_no_json_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "garbage").write_bytes(b"\xff{")
    for name in ("fifo", "garbage", "missing", "."):
        with pytest.raises(ConfigError):
            settings.read(tmp_path / name)


def planned(server: str = "", env: dict[str, str] | None = None, **more):
    wanted = {"private": None, "limits": Limits(1 << 30, 1.5, 100), "processes": None, "files": 1024}
    wanted |= {"traits": Traits(), **more}
    return spawn.plan(Start("alice", server, env or {}), ALICE, SITE, Path("/run/s/alice"), **wanted)


def test_a_later_variable_wins_what_the_hub_says_is_least():
    env = planned(env={"TZ": "Mars", "LANG": "de_DE.UTF-8"}).order["env"]
    assert (env["TZ"], env["LANG"], env["PATH"]) == ("UTC", "de_DE.UTF-8", "/opt/default/bin:/usr/bin")
    assert env["MANYLAB_SOCKET"] == "/run/s/alice/_/server.sock"


def test_a_scope_has_a_name_of_its_own_and_the_limits_that_were_decided():
    plan, other = planned("lab"), planned("lab")
    assert plan.scope.startswith("manylab-server-alice-lab-") and plan.scope.endswith(".scope")
    assert plan.scope != other.scope
    assert plan.limits == Limits(1 << 30, 1.5, 100)


def test_the_order_says_what_no_control_group_holds_and_where_the_private_folders_are():
    order = planned(private=Path("/p/1001"), processes=100).order
    assert (order["private"], order["processes"]) == ("/p/1001", 100)
    assert planned().order["private"] is planned().order["processes"] is None


def conversation(said: bytes) -> tuple[spawn.Seat, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    return spawn.Seat(1, Talk(ours)), theirs


@pytest.mark.parametrize(
    ("said", "reason", "part"),
    [
        (b'{"reason": "no-home", "message": "no home"}\n', "no-home", "no home"),
        (b'{"reason": "made-up", "message": "x"}\n', "start-failed", "x"),
        (b"Failed to connect\n", "start-failed", "did not become"),
        (b"", "start-failed", "ended"),
        (b"[]\n", "start-failed", "ended"),
        (b"{" * 100_000, "start-failed", "ended"),
    ],
)
def test_what_a_failing_start_said_is_passed_on(said, reason, part):
    async def give():
        seat, theirs = conversation(said)
        with theirs, contextlib.closing(seat.talk):
            await spawn.give(seat, {}, None)

    with pytest.raises(Refusal) as refused:
        asyncio.run(give())
    assert refused.value.reason == reason and part in refused.value.message


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"ready\n", None),
        (b"", ""),
        (b"what?\n", ""),
        (b'{"reason": "start-failed", "message": "x cannot be run"}\n', "x cannot be run"),
    ],
)
def test_a_server_is_ready_when_it_says_exactly_that(said, fault):
    async def ask():
        seat, theirs = conversation(b'{"became": true}\n' + said)
        with theirs:
            await spawn.give(seat, {}, None)
            return await spawn.answers(seat, 5.0)

    assert asyncio.run(ask()) == fault


def test_an_entry_is_found_again_by_the_next_registry(tmp_path):
    first = Registry(tmp_path / "registry")
    named = replace(ENTRY, server="lab", scope="manylab-server-alice-lab-0.scope", audit=7)
    for entry in (ENTRY, named):
        first.write(entry)
    first.close()
    assert sorted(Registry(tmp_path / "registry").entries(), key=lambda entry: entry.server) == [ENTRY, named]
    assert stat.S_IMODE((tmp_path / "registry").stat().st_mode) == 0o700


def test_a_registry_has_one_warden(tmp_path):
    first = Registry(tmp_path / "registry")
    with pytest.raises(AlreadyRunning):
        Registry(tmp_path / "registry")
    first.close()
    Registry(tmp_path / "registry").close()


def test_files_that_are_no_entries_are_removed(tmp_path):
    registry = Registry(tmp_path / "registry")
    good = json.dumps(vars(ENTRY))
    for name, text in {
        "a": "",
        "b": "{}",
        "c": "[" * 99_999,
        "d": good,
        "e": good.replace("4242", '"4242"'),
        "f": good.replace("4242", "-1"),
        "g": good.replace('"scope": null', '"scope": "ssh.service"'),
    }.items():
        (registry.folder / f"{name}.json").write_text(text)
    assert list(registry.entries()) == []
    assert list(registry.folder.glob("*.json")) == []


def test_the_end_of_an_old_start_does_not_forget_a_new_one(tmp_path):
    registry = Registry(tmp_path / "registry")
    newer = replace(ENTRY, marker="efgh")
    registry.write(newer)
    registry.remove(ENTRY)
    assert list(registry.entries()) == [newer]


def test_the_sixth_try_within_a_minute_is_refused_for_that_name_only():
    throttle = Throttle()
    assert [throttle.begin("alice", float(second)) for second in range(6)] == [True] * 5 + [False]
    assert throttle.begin("bob", 6.0)
    assert throttle.begin("alice", 60.5)  # the first try was a minute ago
    assert not throttle.begin("alice", 60.6)


def test_a_right_password_clears_a_name_and_a_failure_that_was_no_guess_is_taken_back():
    throttle = Throttle()
    for _ in range(4):
        throttle.begin("alice", 0.0)
    throttle.forget("alice")
    for _ in range(50):
        assert throttle.begin("alice", 0.0)
        throttle.forgive("alice")


def test_the_throttle_remembers_a_bounded_number_of_names():
    throttle = Throttle()
    for number in range(10_000):
        throttle.begin(f"a{number}", 0.0)
    assert len(throttle._tries) == 4096


@pytest.mark.parametrize(
    ("field", "locked"),
    [("!", True), ("!!", True), ("*", True), ("!$6$x", True), ("$6$x", False), ("", False)],
)
def test_a_locked_password_is_seen_in_shadow(tmp_path, field, locked):
    shadow = tmp_path / "shadow"
    shadow.write_text(f"alicia:*:1\nalice:{field}:19000:0:99999:7:::\nbob:!:1\n")
    assert accounts.has_locked_password("alice", shadow) is locked
    assert not accounts.has_locked_password("carol", shadow)
    assert not accounts.has_locked_password("alice", tmp_path / "missing")


@pytest.mark.parametrize("name", ["root", "no-such-account-here", "ROOT", "a b"])
def test_accounts_that_are_nobody_to_serve(name):
    with pytest.raises(Refusal) as caught:
        accounts.find(name, SITE)
    assert caught.value.reason in ("system-account", "unknown")


def test_a_process_is_its_number_and_its_moment():
    me = processes.see(os.getpid())
    assert me is not None and processes.alive(me.process)
    assert not processes.alive(Process(os.getpid(), me.process.starttime + 1))
    with pytest.raises(ProcessLookupError):
        processes.open_pidfd(Process(os.getpid(), me.process.starttime + 1))
    assert processes.uids(os.getpid()) == {os.getuid()}
    assert processes.see(2**22 + 1) is None


def test_a_warden_that_is_not_there_is_one_kind_of_error(tmp_path):
    with pytest.raises(WardenUnavailable):
        client.ask_sync(tmp_path / "no.sock", {"do": "list"}, 1)
    with pytest.raises(WardenUnavailable):
        asyncio.run(client.ask(tmp_path / "no.sock", {"do": "list"}, 1))


def test_the_client_speaks_one_line_each_way(tmp_path):
    async def talk() -> tuple[dict, dict]:
        async def answer(reader, writer):
            asked = json.loads(await reader.readline())
            writer.write(json.dumps({"ok": True, "asked": asked}).encode() + b"\n")
            writer.close()

        async with await asyncio.start_unix_server(answer, tmp_path / "s"):
            first = await client.ask(tmp_path / "s", {"do": "list"}, 5)
            return first, await asyncio.to_thread(client.ask_sync, tmp_path / "s", {"do": "list"}, 5)

    expected = {"ok": True, "asked": {"do": "list"}}
    assert asyncio.run(talk()) == (expected, expected)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alice:$y$x:20000:0:99999:7::20100:", "expired"),
        ("alice:$y$x:20000:0:99999:7::0:", "expired"),
        ("alice:$y$x:0:0:99999:7:::", "password-expired"),
        ("alice:$y$x:20000:0:90:7:::", "password-expired"),
        ("alice:$y$x:20000:0:99999:7:::", "expired"),
        ("bob:$y$x:0:0:99999:7:::", "expired"),
    ],
)
def test_the_reason_that_debian_s_pam_stack_hides_is_in_shadow(tmp_path, line, reason):
    shadow = tmp_path / "shadow"
    shadow.write_text(f"root:*:1:0:99999:7:::\n{line}\n")
    assert accounts.why_not_now("alice", shadow, today=20200) == reason
