"""One server while it runs, as the warden knows it."""

from __future__ import annotations

import asyncio
import contextlib
import select
import signal
import subprocess
from typing import Final

from manylab.warden import processes
from manylab.warden.nursery import Nursery
from manylab.warden.processes import Process
from manylab.warden.registry import Entry

SWEEP: Final = 15.0  # seconds after which processes that cannot be ended are given up (waiting for a dead disk)


class Running:
    """One running server. process: when it is the warden's child. nursery: whose child it is when it started warm.

    Neither, when an earlier warden started it; nobody then learns its exit status. descriptor: means its main process
    (pidfd_open(2)), from before it was the person's: later it may be one that cannot be looked at.
    """

    def __init__(
        self,
        entry: Entry,
        process: subprocess.Popen[bytes] | None = None,
        nursery: Nursery | None = None,
        descriptor: int | None = None,
    ) -> None:
        self.entry = entry
        self.process = process
        self.nursery = nursery
        self.descriptor = descriptor
        self.ended = asyncio.Event()  # the main process is gone
        self.swept = asyncio.Event()  # and all that it started
        self.known: set[Process] = set()
        self.hurry = False
        self.unwanted = False  # it was stopped before it answered
        self.over = False  # the main process is gone, and how it ended is being asked

    async def alive(self) -> bool:
        """Whether its main process runs."""
        if self.over:
            return False
        if self.descriptor is not None:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLIN)
            return not poll.poll(0)
        return await asyncio.to_thread(processes.alive, self.entry.process)

    async def send(self, number: signal.Signals) -> None:
        """Signal its main process; nothing happens when it is gone."""
        if self.descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.descriptor, number)
        elif not self.over:
            await asyncio.to_thread(processes.send, self.entry.process, number)


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happened in this time."""
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
