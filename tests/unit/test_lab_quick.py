"""A browser's connection to a kernel that has just been started."""

from __future__ import annotations

import asyncio

import pytest

from manylab.lab import quick


class Manager:
    execution_state = "starting"


@pytest.mark.parametrize(("before", "seen"), [("starting", "unknown"), ("busy", "busy")])
def test_a_connection_does_not_look_every_now_and_then_whether_a_kernel_has_begun(monkeypatch, before, seen):
    manager, looks = Manager(), []
    manager.execution_state = before

    def usual(self):
        """As Jupyter's: it looks in a task of its own, and again and again while it sees "starting"."""

        async def wait_for_activity():
            looks.append(manager.execution_state)

        return asyncio.ensure_future(wait_for_activity())

    monkeypatch.setattr(quick.ZMQChannelsWebsocketConnection, "nudge", usual)
    connection = quick.QuickConnection.__new__(quick.QuickConnection)
    monkeypatch.setattr(quick.QuickConnection, "kernel_manager", manager)

    async def connect():
        await connection.nudge()
        await asyncio.sleep(0)
        return manager.execution_state

    assert asyncio.run(connect()) == before
    assert looks == [seen]


class Stream:
    """As much of a ZMQStream as is used."""

    def __init__(self) -> None:
        self.hear = None
        self.open = True

    def on_recv(self, callback):
        self.hear = callback

    def stop_on_recv(self):
        self.hear = None

    def closed(self):
        return not self.open

    def close(self):
        self.open = False


class Kernel(Manager):
    """A kernel that starts; `sockets` are those that were made to it."""

    def __init__(self) -> None:
        self.ports = [1, 2, 3, 4, 5]
        self.sockets = []


@pytest.fixture
def kernel(monkeypatch):
    manager = Kernel()

    def create_stream(self):
        for channel in ("iopub", "shell", "control", "stdin"):
            self.channels[channel] = Stream()
            manager.sockets.append(self.channels[channel])

    async def prepare(self):
        """As Jupyter's: until the kernel has answered, or has not and is given up."""
        manager._kernel_info_future = asyncio.get_running_loop().create_future()
        if manager.execution_state == "dead":
            raise RuntimeError("no kernel")
        for heard in manager.says:
            manager.sockets[0].hear(heard)
        manager._kernel_info_future.set_result(manager.info)

    def nudge(self):
        manager.nudged = True
        return asyncio.ensure_future(asyncio.sleep(0))

    for name, usual in {"create_stream": create_stream, "prepare": prepare, "nudge": nudge}.items():
        monkeypatch.setattr(quick.ZMQChannelsWebsocketConnection, name, usual)
    monkeypatch.setattr(quick.QuickConnection, "kernel_manager", manager)
    monkeypatch.setattr(quick.QuickConnection, "channels", {})
    manager.says, manager.info, manager.nudged = ["welcome"], {"protocol_version": "5.3"}, False
    return manager


def connected(kernel, between=lambda: None):
    connection = quick.QuickConnection.__new__(quick.QuickConnection)

    async def connect():
        await connection.prepare()
        between()
        connection.channels = {}
        connection.create_stream()
        await connection.nudge()
        return connection

    return asyncio.run(connect())


def test_the_sockets_to_a_new_kernel_are_made_while_it_starts_and_nothing_more_is_asked(kernel):
    connection = connected(kernel)
    assert list(connection.channels.values()) == kernel.sockets
    assert all(stream.open for stream in kernel.sockets)
    assert not kernel.nudged
    # What comes after the first message waits for the browser.
    assert connection.channels["iopub"].hear is None


@pytest.mark.parametrize("missing", ["message", "answer"])
def test_a_kernel_that_has_not_been_heard_is_asked_as_ever(kernel, missing):
    if missing == "message":
        kernel.says = []
    else:
        kernel.info = {}
    connection = connected(kernel)
    assert kernel.nudged
    assert list(connection.channels.values()) == kernel.sockets


def test_a_kernel_that_was_started_again_elsewhere_is_connected_anew(kernel):
    def again():
        kernel.ports = [6, 7, 8, 9, 10]

    connection = connected(kernel, again)
    assert [stream.open for stream in kernel.sockets] == [False] * 4 + [True] * 4
    assert list(connection.channels.values()) == kernel.sockets[4:]
    assert kernel.nudged


def test_a_kernel_that_runs_already_is_connected_when_it_has_answered(kernel):
    kernel.execution_state, kernel.says = "idle", []
    connection = connected(kernel)
    assert list(connection.channels.values()) == kernel.sockets
    assert kernel.nudged


@pytest.mark.parametrize("why", ["no kernel", "nobody came"])
def test_sockets_that_no_browser_uses_are_closed(kernel, monkeypatch, why):
    monkeypatch.setattr(quick, "_UNUSED", 0.0)
    connection = quick.QuickConnection.__new__(quick.QuickConnection)

    async def prepare():
        if why == "no kernel":
            monkeypatch.setattr(type(connection), "_connect_early", lambda self: gone(self))
            with pytest.raises(RuntimeError, match="no kernel"):
                await connection.prepare()
        else:
            await connection.prepare()
        await asyncio.sleep(0.01)

    usual = quick.QuickConnection._connect_early

    def gone(self):
        usual(self)
        kernel.execution_state = "dead"

    asyncio.run(prepare())
    assert len(kernel.sockets) == 4
    assert not any(stream.open for stream in kernel.sockets)


def test_sockets_that_cannot_be_had_yet_are_made_later(kernel, monkeypatch):
    usual = quick.ZMQChannelsWebsocketConnection.create_stream
    monkeypatch.setattr(quick.ZMQChannelsWebsocketConnection, "create_stream", lambda self: first(self))

    def first(self):
        monkeypatch.setattr(quick.ZMQChannelsWebsocketConnection, "create_stream", usual)
        usual(self)
        raise OSError("no such file")

    kernel.says = []
    connection = connected(kernel)
    assert [stream.open for stream in kernel.sockets] == [False] * 4 + [True] * 4
    assert list(connection.channels.values()) == kernel.sockets[4:]
