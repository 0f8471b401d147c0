"""Watching servers through the warden, with a warden made of a function."""

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterhub")
pytest.importorskip("manylab.system.warden_client")

from jupyterhub import orm

from manylab.base.errors import WardenUnavailable
from manylab.hub import spawner as module
from manylab.hub.spawner import StartRefused, WardenSpawner
from manylab.system import warden_client as client


@pytest.fixture
def warden(monkeypatch):
    state = SimpleNamespace(answers=[], asked=[])

    async def ask(path, question, timeout):
        state.asked.append(question)
        answer = state.answers.pop(0)
        if answer is None:
            raise WardenUnavailable("nobody there")
        return answer

    monkeypatch.setattr(client, "ask", ask)
    return state


def spawner(server="", **more):
    made = WardenSpawner(
        user=SimpleNamespace(name="alice", url="/user/alice/", base_url="/user/alice/"), servers_dir="/run/s", **more
    )
    made.orm_spawner = SimpleNamespace(name=server, server=None, state={})
    return made


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"ok": True, "state": "running", "pid": 5, "exit": None}, None),
        ({"ok": True, "state": "exited", "pid": 5, "exit": 3}, 3),
        ({"ok": True, "state": "exited", "pid": 5, "exit": -9}, -9),
        ({"ok": True, "state": "exited", "pid": 5, "exit": None}, 1),
        ({"ok": True, "state": "unknown", "pid": None, "exit": None}, 0),
        ({"ok": False, "reason": "error", "message": ""}, None),
        (None, None),
    ],
)
def test_only_the_wardens_word_ends_a_server(warden, answer, status):
    warden.answers = [answer]
    assert asyncio.run(spawner(started=True).poll()) == status


def test_a_server_that_was_never_started_is_not_asked_about(warden):
    assert asyncio.run(spawner().poll()) == 0
    assert warden.asked == []


def test_what_is_known_of_a_server_survives_the_hub():
    first = spawner(started=True, pid=7, socket="/run/s/alice/_/server.sock")
    second = spawner()
    second.load_state(first.get_state())
    assert (second.started, second.pid, second.socket) == (True, 7, "/run/s/alice/_/server.sock")
    second.clear_state()
    assert second.get_state() == {}


@pytest.mark.parametrize(
    ("name", "path"), [("", "/run/s/alice/_/server.sock"), ("exp-1", "/run/s/alice/exp-1/server.sock")]
)
def test_where_a_server_will_listen_is_known_before(name, path):
    assert spawner(name).expected_socket() == path


def test_a_stop_waits_for_a_warden_that_is_being_restarted(warden, monkeypatch):
    monkeypatch.setattr(module.asyncio, "sleep", lambda seconds: original(0))
    warden.answers = [None, {"ok": False, "reason": "busy", "message": ""}, {"ok": True, "was": "running"}]
    asyncio.run(spawner(started=True).stop())
    assert [question["do"] for question in warden.asked] == ["stop"] * 3


original = asyncio.sleep
UNKNOWN = {"ok": True, "state": "unknown", "pid": None, "exit": None}


def test_a_server_that_the_hub_forgot_is_ended_before_another_is_started(warden, monkeypatch):
    monkeypatch.setattr(WardenSpawner, "get_env", lambda self: {})
    running = {"ok": True, "state": "running", "pid": 4, "exit": None}
    warden.answers = [running, {"ok": True, "was": "running"}, {"ok": False, "reason": "start-failed", "message": ""}]
    with pytest.raises(StartRefused):
        asyncio.run(spawner().start())
    assert [question["do"] for question in warden.asked] == ["status", "stop", "start"]


def test_a_start_waits_for_a_warden_that_is_being_restarted_and_begins_anew(warden, monkeypatch):
    monkeypatch.setattr(WardenSpawner, "get_env", lambda self: {})
    monkeypatch.setattr(module.asyncio, "sleep", lambda seconds: original(0))
    running = {"ok": True, "state": "running", "pid": 4, "exit": None}
    refused = {"ok": False, "reason": "no-home", "message": ""}
    # It ended while it started the server; so did the next one before it could be asked. The third has adopted it.
    warden.answers = [UNKNOWN, None, None, running, {"ok": True, "was": "running"}, refused]
    with pytest.raises(StartRefused, match="home"):
        asyncio.run(spawner().start())
    assert [question["do"] for question in warden.asked] == ["status", "start", "status", "status", "stop", "start"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"ok": False, "reason": "no-home", "message": "/home/alice"}, "home folder does not exist"),
        ({"ok": False, "reason": "start-failed", "message": "No space left on device"}, "full"),
        ({"ok": False, "reason": "start-failed", "message": "exec"}, "could not be started"),
        (None, "at the moment"),
    ],
)
def test_a_start_that_fails_says_so_in_both_languages_and_hides_the_details(warden, monkeypatch, answer, words):
    monkeypatch.setattr(WardenSpawner, "get_env", lambda self: {})
    monkeypatch.setattr(module, "START_TRIES", 1)
    warden.answers = [UNKNOWN, answer]
    with pytest.raises(StartRefused) as caught:
        asyncio.run(spawner().start())
    assert words in caught.value.jupyterhub_message
    assert "服务器" in caught.value.jupyterhub_message or "主目录" in caught.value.jupyterhub_message
    assert "/home/alice" not in caught.value.jupyterhub_message


def test_a_server_that_ends_while_it_starts_is_noticed(warden, monkeypatch, tmp_path):
    monkeypatch.setattr(WardenSpawner, "get_env", lambda self: {})
    monkeypatch.setattr(module, "LOOK_AT_PROCESS", 0.0)
    warden.answers = [
        UNKNOWN,
        {"ok": True, "pid": 5, "socket": str(tmp_path / "none.sock")},
        {"ok": True, "state": "exited", "pid": 5, "exit": 2},
    ]
    with pytest.raises(StartRefused, match="status 2"):
        asyncio.run(spawner().start())


def moved(base_url, host_before, base_url_now, host_now):
    """A running server that was started under another address than the site has now."""
    made = WardenSpawner(servers_dir="/run/s")
    url = f"{host_now}{base_url_now}user/bob/"
    made.user = SimpleNamespace(name="bob", url=url, base_url=f"{base_url_now}user/bob/")
    server = orm.Server(proto="http+unix", ip="%2fs", port=80, base_url=f"{base_url}user/bob/", cookie_name="c")
    made.orm_spawner = SimpleNamespace(name="", server=server, state={})
    made.load_state({"started": True, "host": host_before})
    return made.moved, made.proxy_spec, made.old_url


LAB, NEW = "http://bob.lab.org:8000", "http://bob.new.org"


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (("/", ""), ("/", ""), (False, "/user/bob/", "/user/bob/")),
        (("/", ""), ("/wsl/", ""), (True, "/user/bob/", "/user/bob/")),
        (("/wsl/", ""), ("/", ""), (True, "/wsl/user/bob/", "/wsl/user/bob/")),
        (("/", LAB), ("/", LAB), (False, "bob.lab.org/user/bob/", f"{LAB}/user/bob/")),
        (("/", LAB), ("/wsl/", LAB), (True, "bob.lab.org/user/bob/", f"{LAB}/user/bob/")),
        (("/", LAB), ("/", NEW), (True, "bob.lab.org/user/bob/", f"{LAB}/user/bob/")),
        # Nobody is authorized there any more; who is in goes on.
        (("/", LAB), ("/", ""), (True, "/user/bob/", "")),
        # One without a name of its own answers under any.
        (("/", ""), ("/", NEW), (False, "bob.new.org/user/bob/", f"{NEW}/user/bob/")),
        (("/", ""), ("/wsl/", NEW), (True, "bob.new.org/user/bob/", f"{NEW}/user/bob/")),
    ],
)
def test_a_running_server_keeps_the_route_of_its_own_address(before, now, found):
    assert moved(*before, *now) == found
