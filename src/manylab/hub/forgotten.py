"""Servers that run and that the hub does not know: ended, for nobody can reach them and nobody else would stop them.

A hub that is killed after the warden has answered, and before it has written that down, leaves one; so does a stop that
failed. The next start of the same server ends it too (spawner.py), if there is one.

One that ran long before this hub is left alone until then: an older database was put back, and what it computes and
writes is somebody's work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from manylab.base.errors import WardenUnavailable
from manylab.system import warden_client

Key = tuple[str, str]

LOOK_EVERY = 10.0  # seconds
YOUNG = 600.0  # seconds: what began no longer ago than this before the hub did


def forgotten(running: Iterable[Mapping[str, Any]], known: Iterable[Key], since: float) -> dict[Key, int]:
    """pid by (person, server) of what the warden runs and the hub does not know. since: seconds since 1970; what was
    begun before is not counted. Pure.
    """
    named = {(one["user"], one["server"]): int(one["pid"]) for one in running if one["since"] >= since}
    return {key: named[key] for key in named.keys() - set(known)}


class ForgottenServers:
    """Looks every `LOOK_EVERY` seconds. One that is unknown at two looks is ended: it did not just begin or end."""

    def __init__(self, app: Any, warden_socket: str) -> None:
        self.app = app
        self.warden_socket = warden_socket
        self.since = time.time() - YOUNG
        self._before: dict[Key, int] = {}

    async def watch(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.look()
            except WardenUnavailable:
                self._before = {}
            except Exception:
                self.app.log.exception("Looking for servers that nobody knows failed; trying again")
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """One look, and whatever follows from it."""
        answer = await warden_client.ask(self.warden_socket, {"do": "list"}, 10.0)
        now = forgotten(answer.get("servers", ()), self._known(), self.since)
        ended = {key for key, pid in now.items() if self._before.get(key) == pid}
        self._before = {key: pid for key, pid in now.items() if key not in ended}
        await asyncio.gather(*(self._end(*key) for key in sorted(ended)))

    def _known(self) -> set[Key]:
        """Every server that runs, or is being started, looked at or stopped, as far as the hub knows."""
        return {
            (user.name, name)
            for user in self.app.users.values()
            for name, spawner in user.spawners.items()
            if spawner.active
        }

    async def _end(self, person: str, server: str) -> None:
        # Since the last look, while others were being ended, it may have been asked for.
        if (person, server) in self._known():
            return
        name = f"{person}:{server}" if server else person
        self.app.log.warning("The server %s runs and the hub does not know it; ending it", name)
        question = {"do": "stop", "user": person, "server": server, "now": False}
        await warden_client.ask(self.warden_socket, question, 60.0)
