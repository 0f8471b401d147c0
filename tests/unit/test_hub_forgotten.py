"""Servers that the warden runs and the hub does not know, with a warden made of a function."""

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterhub")

from manylab.hub.forgotten import ForgottenServers, forgotten
from manylab.system import warden_client as client


def running(*found: tuple[str, str, int]) -> list[dict]:
    return [{"user": user, "server": server, "pid": pid, "since": time.time()} for user, server, pid in found]


def test_forgotten_is_what_runs_and_is_not_known():
    found = running(("alice", "", 1), ("alice", "second", 2), ("bob", "", 3))
    assert forgotten(found, {("alice", ""), ("carol", "")}, 0.0) == {("alice", "second"): 2, ("bob", ""): 3}
    assert forgotten([], {("alice", "")}, 0.0) == {}


def test_what_ran_long_before_the_hub_is_somebodys_work_and_stays(hub):
    hub.runs[1]["since"] -= 3600  # another database was put back
    hub.look()
    hub.look()
    assert hub.ended == []


@pytest.fixture
def hub(monkeypatch):
    """A hub that knows alice's default server; `runs` is what the warden says, `ended` what it was told to stop."""
    state = SimpleNamespace(runs=running(("alice", "", 1), ("alice", "lost", 2)), ended=[])

    async def ask(_path, question, _timeout):
        if question["do"] == "list":
            return {"ok": True, "servers": state.runs}
        state.ended.append((question["user"], question["server"]))
        return {"ok": True, "was": "running"}

    monkeypatch.setattr(client, "ask", ask)
    state.known = {"": SimpleNamespace(active=True), "lost": SimpleNamespace(active=False)}
    app = SimpleNamespace(users={1: SimpleNamespace(name="alice", spawners=state.known)}, log=logging.getLogger())
    watch = ForgottenServers(app, "/run/warden.sock")
    state.look = lambda: asyncio.run(watch.look())
    return state


def test_a_server_that_is_unknown_at_two_looks_is_ended_once(hub):
    hub.look()
    assert hub.ended == []
    hub.look()
    assert hub.ended == [("alice", "lost")]
    hub.runs = running(("alice", "", 1))
    hub.look()
    hub.look()
    assert hub.ended == [("alice", "lost")]


def test_a_server_that_only_just_begins_is_not_ended(hub):
    hub.look()
    hub.known["lost"].active = True
    hub.look()
    hub.known["lost"].active = False
    hub.runs = running(("alice", "lost", 3))  # another one by that name
    hub.look()
    assert hub.ended == []
