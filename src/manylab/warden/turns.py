"""A few at a time: sixty that share two processors would all be late. Whoever only waits holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import Final

from manylab.warden import processes

_LOOK: Final = 0.25  # seconds
_IDLE: Final = 8  # looks one after another at which it did not want a processor
_LONGEST: Final = 20.0  # seconds; four times what a cold start takes on a machine that has nothing else to do
# How many begin before the first has its answer. With a class at the door, sixty hashes side by side are all ready at
# the same moment, and until then the hub has nothing to do; in turn, the first has a Lab while the last is hashed.
_HASHING: Final = max(2, (os.cpu_count() or 1) // 2)
# Seconds, four times what a hash takes: what lasts longer waits (for the pause after a wrong password, for a directory
# far away) and keeps nobody from a processor.
_HASH: Final = 0.1


class Turn:
    """`async with Turn(turns) as turn:` first come, first served.

    A start may wait for what belongs to the person: a home on a file server that is away, a FIFO in the place of a
    settings file, a process that its owner has stopped. Its turn is then the next one's, while it goes on.
    """

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._held = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Turn:
        await self._turns.acquire()
        self._held = True
        return self

    async def __aexit__(self, *why: object) -> None:
        self._end_watch()
        self._give_back()

    def watch(self, pid: int) -> None:
        """Give the turn back when this process waits, or takes very long. In the place of one watched before."""
        self._end_watch()
        self._task = asyncio.get_running_loop().create_task(self._watch(pid))

    async def _watch(self, pid: int) -> None:
        idle, end = 0, time.monotonic() + _LONGEST
        while idle < _IDLE and time.monotonic() < end:
            await asyncio.sleep(_LOOK)
            seen = processes.glance(pid)
            # "R" also for one that waits for a processor. What waits for a slow disk ("D") can wait beside others.
            idle = 0 if seen is not None and seen.state == "R" else idle + 1
        self._give_back()

    def _end_watch(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._turns.release()


class Beginnings:
    """For passwords that are hashed: lets `places` begin; the next one begins when one of them has its answer, or is no
    longer at the beginning.
    """

    def __init__(self, places: int = _HASHING, beginning: float = _HASH) -> None:
        self._free = asyncio.Semaphore(places)
        self._beginning = beginning

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn. The place is given back once, at the end or after `beginning` seconds."""
        await self._free.acquire()
        place = contextlib.ExitStack()  # gives it back once, whoever is first
        place.callback(self._free.release)
        timer = asyncio.get_running_loop().call_later(self._beginning, place.close)
        try:
            yield
        finally:
            timer.cancel()
            place.close()
