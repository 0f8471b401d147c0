"""Start, stop, status and list: the servers of a site, which outlive the warden that started them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final
from weakref import WeakValueDictionary

from manylab.base import names
from manylab.warden import accounts, cgroups, processes
from manylab.warden.accounts import Person
from manylab.warden.messages import Refusal, Start
from manylab.warden.nurseries import Nurseries
from manylab.warden.nursery import Nursery
from manylab.warden.processes import Process
from manylab.warden.registry import Entry, Registry
from manylab.warden.running import SWEEP, Running, within
from manylab.warden.sessions import Sessions, hard_limits, lift
from manylab.warden.settings import Settings
from manylab.warden.starts import Starting, Starts, nobody_waits

log = logging.getLogger("manylab.warden")

Key = tuple[str, str]

_STOP: Final = {False: 10.0, True: 1.0}  # seconds between SIGTERM and SIGKILL, by `now`
_GRACE: Final = 1.0  # seconds for what a server left behind to end by itself
_REMEMBERED: Final = 1000  # exit statuses
_POLL: Final = 1.0  # seconds, on kernels without pidfd


class Servers:
    """Every server of the site. All methods run in the event loop; one start or stop at a time for each server."""

    def __init__(self, registry: Registry, nurseries: Nurseries | None, sessions: Sessions, files: int) -> None:
        self._registry = registry
        self._nurseries = nurseries
        self._starts = Starts(registry, nurseries, sessions, files, self._begun)
        self._starting: dict[Key, Starting] = {}
        self._running: dict[Key, Running] = {}
        self._exited: OrderedDict[Key, int | None] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self) -> None:
        """Take over the servers of the warden before this one."""
        boot = processes.boot_id()
        for entry in self._registry.entries():
            if entry.boot != boot:
                self._registry.remove(entry)
                continue
            running = Running(entry)
            # The pid, the moment it started and whose it is: a number that came to mean another process never passes.
            if processes.alive(entry.process) and processes.uids(entry.pid) == {entry.uid}:
                log.info("adopted the server %s/%s, pid %d", entry.user, entry.server, entry.pid)
                self._running[entry.key] = running
                self._watch(running)
            else:
                log.info("the server %s/%s, pid %d, ended while no warden looked", entry.user, entry.server, entry.pid)
                self._gone(running, None)

    async def start(self, message: Start, settings: Settings, gone: Callable[[], bool]) -> Entry:
        """The running server, started unless it ran already; raises Refusal.

        gone: whether whoever asked is. Nobody would then know of the server (or have its token): it is ended, and one
        that still waits for its turn is not begun.
        """
        key = (message.user, message.server)
        person = await accounts.ask(self._person, message.user, settings)
        async with self._lock(key):
            if (running := self._running.get(key)) is not None:
                return running.entry
            starting = self._starting[key] = Starting(gone)
            try:
                entry = await self._starts.start(message, person, settings, starting)
            except OSError as error:
                log.warning("starting %s/%s: %s", *key, error)
                raise Refusal("start-failed", f"the server could not be started: {error}") from None
            finally:
                starting.over.set()
                del self._starting[key]
            if starting.given_up and (running := self._running.get(key)) is not None:
                log.warning("nobody wants the server %s/%s any more; ending it", *key)
                await self._end(running, now=True)
                raise nobody_waits()
            return entry

    @staticmethod
    def _person(name: str, settings: Settings) -> Person:
        person = accounts.find(name, settings)
        accounts.admit(person, settings)
        return person

    def _begun(self, running: Running) -> None:
        key = running.entry.key
        self._running[key] = running
        self._exited.pop(key, None)
        self._watch(running)
        self._starting[key].over.set()

    async def place(self, pid: int, caller: int, uid: int) -> Running:
        """Put a nursery's child beside the server that asked for it. Raises Refusal.

        pid: the child, by the kernel's word. caller: the server's main process, uid its account, by the kernel's word
        to the nursery.
        """
        running = next((one for one in self._running.values() if one.entry.pid == caller), None)
        if running is None or running.entry.uid != uid or not await running.alive():
            raise Refusal("forbidden", "only a server of this site can have a kernel")
        seen = processes.glance(pid)
        if seen is None or self._nurseries is None or seen.parent not in self._nurseries.pids():
            raise Refusal("forbidden", "only the child of a nursery can become a kernel")
        try:
            kernel = await asyncio.to_thread(_join, caller, pid)
        except OSError as error:
            raise Refusal("error", f"the kernel could not be put beside its server: {error}") from None
        # Those that have ended are forgotten; what got the number of one since then is not taken for it (`_family`).
        there = tuple(item for item in running.entry.kernels if (one := processes.glance(item[0])) and one.alive)
        running.entry = replace(running.entry, kernels=(*there, (pid, kernel.starttime)))
        self._registry.write(running.entry)
        if running.ended.is_set():  # while it was being placed: what it leaves is being ended, this one with it
            raise Refusal("error", "the server has just ended")
        return running

    async def stop(self, key: Key, now: bool) -> str:
        """`running` or `gone`, what it was; all that the server started is gone afterwards. Raises Refusal `error`."""
        was = "gone"
        if (starting := self._starting.get(key)) is not None:
            starting.unwanted = True
            if starting.queued:
                return was
            await starting.over.wait()
            if (running := self._running.get(key)) is not None:
                # Its answer is not waited for, it may never come.
                running.unwanted = True
                await self._end(running, now)
                was = "running"
        async with self._lock(key):
            if (running := self._running.get(key)) is None:
                return was
            await self._end(running, now)
            return "running"

    async def _end(self, running: Running, now: bool) -> None:
        """Raises Refusal `error`."""
        entry = running.entry
        running.hurry = now
        # Before the signal, while parents still point at their children.
        running.known = await asyncio.to_thread(_family, entry)
        await running.send(signal.SIGTERM)
        if not await within(running.ended, _STOP[now]):
            await running.send(signal.SIGKILL)
            if not await within(running.ended, _GRACE):
                # It waits for a process of its own, like the daemon of a file system: that has to end first.
                left = await asyncio.to_thread(_family, entry, running.known)
                await asyncio.to_thread(cgroups.kill, entry.cage)
                await asyncio.to_thread(_send, left, signal.SIGKILL)
        if not await within(running.ended, SWEEP) or not await within(running.swept, 2 * SWEEP):
            raise Refusal("error", f"processes of the server {entry.user}/{entry.server} do not end")
        log.info("stopped the server %s/%s, pid %d", *entry.key, entry.pid)

    async def stop_all(self, folder: str | None = None) -> int:
        """How many servers ran and were stopped. folder: only those of the account whose folder has this name."""
        wanted = [key for key in {*self._running, *self._starting} if folder in (None, names.folder(key[0]))]
        answers = await asyncio.gather(*(self.stop(key, False) for key in wanted), return_exceptions=True)
        return sum(answer == "running" for answer in answers)

    def status(self, key: Key) -> dict[str, Any]:
        """state, pid and exit of one server."""
        if (running := self._running.get(key)) is not None:
            return {"state": "running", "pid": running.entry.pid, "exit": None}
        if key in self._exited:
            return {"state": "exited", "pid": None, "exit": self._exited[key]}
        return {"state": "unknown", "pid": None, "exit": None}

    def list(self) -> list[dict[str, Any]]:
        """Every running server."""
        wanted = ("user", "server", "pid", "since", "socket")
        return [{name: getattr(running.entry, name) for name in wanted} for running in self._running.values()]

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _watch(self, running: Running) -> None:
        """Have `_gone` called when the main process ends."""
        if running.descriptor is None:  # of an earlier warden; or a kernel without them
            try:
                running.descriptor = processes.open_pidfd(running.entry.process, running.entry.uid)
            except ProcessLookupError:
                self._ended(running)
                return
        if (descriptor := running.descriptor) is None:
            self._background(self._poll(running))
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(descriptor)
            running.descriptor = None
            os.close(descriptor)
            self._ended(running)

        loop.add_reader(descriptor, ended)

    async def _poll(self, running: Running) -> None:
        while await running.alive():
            await asyncio.sleep(_POLL)
        self._ended(running)

    def _ended(self, running: Running) -> None:
        running.over = True
        if running.nursery is not None:
            self._background(self._ended_warm(running, running.nursery))
            return
        status = None if running.process is None else running.process.poll()  # reaps our own child and no other
        self._note(running, status)

    async def _ended_warm(self, running: Running, nursery: Nursery) -> None:
        self._note(running, await nursery.exit_of(running.entry.pid))

    def _note(self, running: Running, status: int | None) -> None:
        log.info("the server %s/%s, pid %d, ended (status %s)", *running.entry.key, running.entry.pid, status)
        self._gone(running, status)

    def _gone(self, running: Running, status: int | None) -> None:
        key = running.entry.key
        if self._running.get(key) is running:
            del self._running[key]
        self._exited[key] = status
        self._exited.move_to_end(key)
        while len(self._exited) > _REMEMBERED:
            self._exited.popitem(last=False)
        running.ended.set()
        self._background(self._sweep(running))

    async def _sweep(self, running: Running) -> None:
        """End what the main process left behind, however it ended, and then forget the server."""
        entry, left = running.entry, running.known
        cage = entry.cage
        begun = time.monotonic()
        while left := await asyncio.to_thread(_family, entry, left):
            waited = time.monotonic() - begun
            if waited > SWEEP:
                log.warning("%d processes of %s/%s do not end", len(left), *entry.key)
                return  # still in the registry: the next warden tries again
            harsh = running.hurry or waited > _GRACE
            if harsh:
                await asyncio.to_thread(cgroups.kill, cage)
            await asyncio.to_thread(_send, left, signal.SIGKILL if harsh else signal.SIGTERM)
            await asyncio.sleep(0.02 if harsh else 0.1)
        await cgroups.remove(cage)
        self._registry.remove(entry)
        running.swept.set()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


def _join(main_pid: int, pid: int) -> Process:
    """Put a nursery's child beside a server; what it is. Blocks; raises OSError."""
    if (seen := processes.see(pid)) is None:
        raise ProcessLookupError(f"process {pid} has ended")
    cgroups.join(main_pid, pid)
    lift(pid, hard_limits(main_pid))
    return seen.process


def _send(left: Iterable[Process], number: signal.Signals) -> None:
    """Signal all of them. Blocks."""
    for process in left:
        processes.send(process, number)


def _family(entry: Entry, known: Iterable[Process] = ()) -> set[Process]:
    """Every living process of a server. Blocks.

    In a cage those are its members, which only root can take out; elsewhere all of /proc is looked through.
    """
    kernels = {Process(*item) for item in entry.kernels}
    if not entry.paths:
        return processes.family(entry.family, {*known, *kernels})
    found = set()
    for one in (entry.process, *known, *kernels):
        seen = processes.see(one.pid)
        # A number that came to mean another account's process is never taken for one of these.
        if seen is not None and seen.alive and seen.may_be(one) and processes.uids(one.pid) == {entry.uid}:
            found.add(seen.process)
    for pid in cgroups.members(entry.cage):
        seen = processes.see(pid)
        if seen is not None and seen.alive:
            found.add(seen.process)
    return found
