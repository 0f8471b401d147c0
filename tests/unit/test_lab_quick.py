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
