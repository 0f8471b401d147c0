"""What this machine can do for isolation, found out once, by trying."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Final

from manylab.base.limits import Limits
from manylab.warden import cgroups, folders
from manylab.warden.settings import Settings

log = logging.getLogger("manylab.warden")

_TRY: Final = 20.0  # seconds
_ALL: Final = ("memory", "cpu", "tasks")


class Machine:
    """Answers that stay the same as long as the warden runs. All methods run in the event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._kind: str | None = None
        self._limited: frozenset[str] = frozenset()
        self._apart: bool | None = None
        self._total: object = None

    async def kind(self, settings: Settings) -> str:
        """Where limits are set: as `cgroups.detect`. What all servers together may use is set on the way."""
        async with self._lock:
            if self._kind is None:
                # Without root nothing of this can be had, and there is only one person.
                own = settings.person_uid is not None
                self._kind = "none" if own else await asyncio.to_thread(cgroups.detect, settings.scopes)
                self._limited = await asyncio.to_thread(cgroups.limited, self._kind)
                if not own:
                    self._say()
            if self._total != settings.total and self._kind != "none":
                self._total = settings.total
                limits = Limits(memory=settings.total.get("memory"))
                try:
                    await asyncio.to_thread(
                        cgroups.set_total, self._kind, limits, settings.total.get("weight"), slice_=settings.slice
                    )
                except OSError as error:
                    log.warning("what all servers together may use cannot be limited: %s", error)
        return self._kind

    def _say(self) -> None:
        if off := [name for name in _ALL if name not in self._limited]:
            log.warning("limits of %s are off: this machine has no control groups for them", " and ".join(off))

    async def limited(self, settings: Settings) -> frozenset[str]:
        """Which of memory, cpu and tasks are really held."""
        await self.kind(settings)
        return self._limited

    async def can_be_apart(self, private: Path) -> bool:
        """Whether a person can have a /tmp of their own."""
        async with self._lock:
            if self._apart is None:
                self._apart = await asyncio.to_thread(_try_apart, private)
        return self._apart


def _try_apart(private: Path) -> bool:
    try:
        folders.empty_private(private)
        folder = folders.private_root(private) / ".try"
        folders.private_parts(folder)
        command = [sys.executable, "-I", "-m", "manylab.warm.apart", str(folder)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TRY, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("people share /tmp: %s", error)
        return False
    if done.returncode != 0:
        log.warning("people share /tmp: this machine does not permit private ones: %s", done.stderr.strip()[-200:])
    return done.returncode == 0
