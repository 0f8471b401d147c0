"""One server while it runs, as the warden knows it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import Final

from manylab.warden.nursery import Nursery
from manylab.warden.processes import Process
from manylab.warden.registry import Entry

SWEEP: Final = 15.0  # seconds after which processes that cannot be ended are given up (waiting for a dead disk)


class Running:
    """One running server. process: when it is the warden's child. nursery: whose child it is when it started warm.

    Neither, when an earlier warden started it; nobody then learns its exit status.
    """

    def __init__(
        self, entry: Entry, process: subprocess.Popen[bytes] | None = None, nursery: Nursery | None = None
    ) -> None:
        self.entry = entry
        self.process = process
        self.nursery = nursery
        self.ended = asyncio.Event()  # the main process is gone
        self.swept = asyncio.Event()  # and all that it started
        self.known: set[Process] = set()
        self.hurry = False
        self.unwanted = False  # it was stopped before it answered


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happened in this time."""
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
