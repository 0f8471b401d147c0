"""The nurseries of a site: started, kept alive, replaced when their environment changes, asked for a child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from manylab.warden import folders
from manylab.warden.nursery import Nursery
from manylab.warden.settings import Nursery as Spec
from manylab.warden.settings import Settings

log = logging.getLogger("manylab.warden")

SERVERS: Final = "server"  # the name of the one that servers are forked from
_READY: Final = 120.0  # seconds for all imports, on a machine that is busy starting
_PATIENCE: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # seconds before it is tried again, one after another
_SOON: Final = 15.0  # seconds, twice what one takes, in which it is waited for
_QUIET: Final = 2.0  # seconds without a change of the machine's facts, before a nursery remembers them
_RESTLESS: Final = 60.0  # seconds after which it is begun all the same
_PLAIN: Final = 2  # tries after which it only imports and does not rehearse
_LAST: Final = 1.0  # seconds for nurseries to end with the warden; one that has children goes on without it


class _Coming:
    """The next nursery of a name. since: when the one before ended, or this one was begun; None while there is one."""

    def __init__(self) -> None:
        self.over = asyncio.Event()  # it is ready, or will not be
        self.since: float | None = None


class Nurseries:
    """Every nursery that the settings ask for. All methods run in the event loop."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._now: dict[str, Nursery] = {}
        self._keepers: dict[str, tuple[Spec, asyncio.Task[None]]] = {}
        self._all: set[Nursery] = set()
        self._coming: dict[str, _Coming] = {}

    def keep(self, settings: Settings) -> None:
        """Have exactly the nurseries of these settings; what is there already and right is left alone."""
        wanted = {spec.name: spec for spec in settings.nurseries} if settings.nursery_run is not None else {}
        for name, (spec, task) in list(self._keepers.items()):
            if wanted.get(name) != spec:
                task.cancel()
                del self._keepers[name]
                self._coming.pop(name, None)  # who waits for it hears that from the task
                if (nursery := self._now.get(name)) is not None and name not in wanted:
                    nursery.retire()
        for name, spec in wanted.items():
            if name not in self._keepers:
                self._coming[name] = _Coming()
                self._keepers[name] = (spec, _task(self._look_after(spec, settings)))

    async def retire(self) -> None:
        """No more children from any of them: the warden ends. Those without children end before it does."""
        for _, task in self._keepers.values():
            task.cancel()
        for nursery in self._all:
            nursery.retire()
        until = asyncio.get_running_loop().time() + _LAST
        while not all(nursery.reap() for nursery in self._all) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)

    def get(self, spec_name: str, settings: Settings) -> Nursery | None:
        """The nursery of this name, if it is what the settings ask for, knows the machine as it is, and answers."""
        self.renew()
        nursery = self._now.get(spec_name)
        if nursery is None or nursery.spec not in settings.nurseries or nursery.retired:
            return None
        return nursery

    async def coming(self, spec_name: str) -> None:
        """Wait for the next nursery of this name, a few seconds at most; not for one that failed before."""
        if (coming := self._coming.get(spec_name)) is not None:
            now = asyncio.get_running_loop().time()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(coming.over.wait(), (coming.since or now) + _SOON - now)

    def renew(self) -> None:
        """Have no more children from those that were begun on another machine, so to speak, and begin them anew."""
        for name, nursery in self._now.items():
            if nursery.retired or nursery.ended.is_set() or nursery.facts is None:
                continue
            if (what := nursery.facts.changed()) is not None:
                log.info("the nursery %s is begun anew: %s changed", name, what)
                nursery.old.set()
                nursery.retire()

    def is_old(self, pid: int) -> bool:
        """Whether the process is a nursery that should have no more children: one of them may have been on its way."""
        return any(nursery.pid == pid and nursery.old.is_set() for nursery in self._all)

    def pids(self) -> set[int]:
        """Every nursery's process, the retired ones too."""
        return {nursery.pid for nursery in self._all if not nursery.reap()}

    async def _look_after(self, spec: Spec, settings: Settings) -> None:
        assert settings.nursery_run is not None
        folders.own(settings.nursery_run, 0o755)
        tries, pause = 0, 0.0
        coming = self._coming[spec.name]
        while True:
            coming.since = asyncio.get_running_loop().time()
            # What fails twice may fail for its rehearsal (an extension that leaves a thread): better slower than cold.
            path = settings.nursery_run / f".{spec.name}-{secrets.token_hex(4)}"
            nursery = Nursery(spec, path, plain=tries >= _PLAIN)
            try:
                await asyncio.sleep(pause)
                await self._one_life(nursery, settings, coming)
            finally:
                coming.over.set()
                nursery.retire()
            if nursery.ready.is_set():
                coming = self._coming[spec.name]
            elif self._coming.get(spec.name) is coming:
                del self._coming[spec.name]  # what failed may fail again
            if nursery.old.is_set():
                tries, pause = 0, 0.0
                await _settled(nursery)
                continue
            tries = 0 if nursery.ready.is_set() else tries + 1
            pause = _PATIENCE[min(tries, len(_PATIENCE) - 1)]
            log.warning("the nursery %s ended; it is tried again in %.0f s", spec.name, pause)

    async def _one_life(self, nursery: Nursery, settings: Settings, coming: _Coming) -> None:
        assert settings.nursery_run is not None
        spec = nursery.spec
        begun = asyncio.get_running_loop().time()
        try:
            nursery.start(settings, self._place)
        except (OSError, KeyError) as error:
            log.warning("the nursery %s cannot be started: %s", spec.name, error)
            return
        self._all = {one for one in self._all if not one.reap()} | {nursery}
        ready, ended, old = (_task(event.wait()) for event in (nursery.ready, nursery.ended, nursery.old))
        try:
            await asyncio.wait((ready, ended), timeout=_READY, return_when=asyncio.FIRST_COMPLETED)
            if not nursery.ready.is_set():
                return
            # Only now under the name that people's servers know: until then a kernel's start is cold at once.
            final = settings.nursery_run / f"{spec.name}.sock"
            nursery.path.replace(final)
            nursery.path = final
            before, self._now[spec.name] = self._now.get(spec.name), nursery
            if before is not None:
                before.path = before.path.with_name(".retired")  # the name is the new one's
                before.retire()
            coming.over.set()
            self._coming[spec.name] = _Coming()
            took = asyncio.get_running_loop().time() - begun
            log.info("the nursery %s is ready after %.1f s, pid %d", spec.name, took, nursery.pid)
            await asyncio.wait((ended, old), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ready, ended, old):
                task.cancel()


async def _settled(nursery: Nursery) -> None:
    """Until the machine stays as it is for a moment: while packages are installed, one change follows the other."""
    until = asyncio.get_running_loop().time() + _RESTLESS
    while asyncio.get_running_loop().time() < until:
        facts = nursery.facts_now()
        await asyncio.sleep(_QUIET)
        if facts.changed() is None:
            return


def _task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(work)
