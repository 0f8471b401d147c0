"""Start, stop, status and list: the servers of a site, which outlive the warden that started them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from manylab.warden import accounts, cgroups, folders, limits, processes, spawn
from manylab.warden.accounts import Person
from manylab.warden.cgroups import Limits
from manylab.warden.machine import Machine
from manylab.warden.messages import Refusal, Start
from manylab.warden.nurseries import SERVERS, Nurseries, Nursery
from manylab.warden.processes import Process
from manylab.warden.registry import Entry, Registry
from manylab.warden.settings import Settings
from manylab.warden.spawn import Plan, Seat

log = logging.getLogger("manylab.warden")

Key = tuple[str, str]

_ANSWERS: Final = 60.0  # seconds for a server to say that it can be connected to; then the hub goes on looking
_DYING: Final = 1.0  # seconds between the last word of a process and its end
_STOP: Final = {False: 10.0, True: 1.0}  # seconds between SIGTERM and SIGKILL, by `now`
_GRACE: Final = 1.0  # seconds for what a server left behind to end by itself
_SWEEP: Final = 15.0  # seconds after which processes that cannot be ended are given up (waiting for a dead disk)
_REMEMBERED: Final = 1000  # exit statuses
_POLL: Final = 1.0  # seconds, on kernels without pidfd


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


class Servers:
    """Every server of the site. All methods run in the event loop; one start or stop at a time for each server."""

    def __init__(self, registry: Registry, nurseries: Nurseries | None = None) -> None:
        self._registry = registry
        self._nurseries = nurseries
        self._machine = Machine()
        # First come, first served: sixty that share two processors would all be late.
        self._turns = asyncio.Semaphore(max(2, 2 * (os.cpu_count() or 1)))
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

    async def start(self, message: Start, settings: Settings) -> Entry:
        """The running server, started unless it ran already; raises Refusal."""
        key = (message.user, message.server)
        person = await accounts.ask(self._person, message.user, settings)
        async with self._lock(key):
            if (running := self._running.get(key)) is not None:
                return running.entry
            try:
                return await self._start(message, person, settings)
            except OSError as error:
                log.warning("starting %s/%s: %s", *key, error)
                raise Refusal("start-failed", f"the server could not be started: {error}") from None

    @staticmethod
    def _person(name: str, settings: Settings) -> Person:
        person = accounts.find(name, settings)
        accounts.admit(person, settings)
        return person

    async def _start(self, message: Start, person: Person, settings: Settings) -> Entry:
        folder = await asyncio.to_thread(folders.for_person, settings, person)
        private = None
        if settings.private is not None and await self._machine.can_be_apart(settings.private):
            private = await asyncio.to_thread(folders.private_for, settings.private, person)
        allowed = await accounts.ask(_allowed, person, settings)
        held = await self._machine.limited(settings)
        processes_ = None if "tasks" in held else allowed.tasks
        plan = spawn.plan(message, person, settings, folder, private, allowed, processes_)
        output = None if settings.log_dir is None else folders.open_log(settings.log_dir, person.name)
        try:
            async with self._turns:
                nursery = None if self._nurseries is None else self._nurseries.get(SERVERS, settings)
                if nursery is not None:
                    try:
                        return await self._one(await spawn.warm(nursery), plan, person, message, settings, output)
                    except spawn.NoServer as reason:
                        log.warning("%s/%s starts cold: %s", person.name, message.server, reason)
                elif settings.nurseries:
                    log.info("%s/%s starts cold: the nursery is not there yet", person.name, message.server)
                return await self._one(spawn.cold(settings, output), plan, person, message, settings, output)
        finally:
            if output is not None:
                os.close(output)

    async def _one(
        self, seat: Seat, plan: Plan, person: Person, message: Start, settings: Settings, output: int | None
    ) -> Entry:
        """One process that waits for its order becomes a server that answers. Raises Refusal, NoServer."""
        seen = processes.see(seat.pid)
        entry = Entry(
            user=person.name,
            server=message.server,
            uid=person.uid,
            pid=seat.pid,
            starttime=seen.process.starttime if seen is not None else 0,
            boot=processes.boot_id(),
            since=time.time(),
            socket=str(plan.socket),
            scope=None,
            marker=plan.marker,
        )
        # Remembered before the child has its order: a warden that dies now leaves a child that hears the end of its
        # connection and ends, never a server that nobody knows.
        self._registry.write(entry)
        cage = cgroups.Cage("none")
        try:
            cage = await self._cage(plan, person, seat.pid, settings)
            entry = replace(entry, scope=cage.scope, kind=cage.kind, paths=cage.paths)
            self._registry.write(entry)
            await spawn.give(seat, plan.order, output)
        except BaseException as error:
            seat.talk.close()
            processes.send(entry.process, signal.SIGKILL)
            if seat.process is not None:
                await asyncio.to_thread(seat.process.wait)
            await cgroups.remove(cage)
            self._registry.remove(entry)
            log.warning("starting %s/%s: %s", *entry.key, error)
            raise
        audit = processes.audit_session(seat.pid)
        if audit is not None and audit != processes.audit_session(os.getpid()):  # else the child could not begin one
            entry = replace(entry, audit=audit)
            self._registry.write(entry)
        running = self._running[entry.key] = Running(entry, seat.process, seat.nursery)
        self._exited.pop(entry.key, None)
        self._watch(running)
        begun = time.monotonic()
        fault = await spawn.answers(seat, _ANSWERS)
        if fault is not None and await _within(running.ended, _DYING):
            await _within(running.swept, _SWEEP)
            sentence = fault or "the server ended before it answered; its log says why"
            raise (spawn.NoServer if seat.nursery is not None else _start_failed)(sentence)
        how = "cold" if seat.nursery is None else "warm"
        what = "answers" if fault is None else "does not answer yet"
        took = time.monotonic() - begun
        log.info("started the server %s/%s, pid %d, %s: %s after %.2f s", *entry.key, entry.pid, how, what, took)
        return entry

    async def _cage(self, plan: Plan, person: Person, pid: int, settings: Settings) -> cgroups.Cage:
        """Where the limits hold. A server is not started without those that this machine can hold."""
        kind = await self._machine.kind(settings)
        try:
            return await cgroups.put(
                kind,
                scope=plan.scope,
                slice_=settings.slice,
                description=f"manylab server of {person.name}",
                pid=pid,
                limits=plan.limits,
            )
        except OSError as error:
            raise Refusal("start-failed", f"the server's limits could not be set: {error}") from None

    async def place(self, pid: int, caller: int, uid: int) -> Running:
        """Put a nursery's child beside the server that asked for it. Raises Refusal.

        pid: the child, by the kernel's word. caller: the server's main process, uid its account, by the kernel's word
        to the nursery.
        """
        running = next((one for one in self._running.values() if one.entry.pid == caller), None)
        if running is None or running.entry.uid != uid or not processes.alive(running.entry.process):
            raise Refusal("forbidden", "only a server of this site can have a kernel")
        seen = processes.see(pid)
        if seen is None or self._nurseries is None or seen.parent not in self._nurseries.pids():
            raise Refusal("forbidden", "only the child of a nursery can become a kernel")
        try:
            await asyncio.to_thread(cgroups.join, caller, pid)
        except OSError as error:
            raise Refusal("error", f"the kernel could not be put beside its server: {error}") from None
        there = tuple(item for item in running.entry.kernels if processes.alive(Process(*item)))
        running.entry = replace(running.entry, kernels=(*there, (pid, seen.process.starttime)))
        self._registry.write(running.entry)
        if running.ended.is_set():  # while it was being placed: what it leaves is being ended, this one with it
            raise Refusal("error", "the server has just ended")
        return running

    async def stop(self, key: Key, now: bool) -> str:
        """`running` or `gone`, what it was; all that the server started is gone afterwards. Raises Refusal `error`."""
        async with self._lock(key):
            running = self._running.get(key)
            if running is None:
                return "gone"
            entry = running.entry
            running.hurry = now
            # Before the signal, while parents still point at their children.
            running.known = await asyncio.to_thread(_family, entry)
            processes.send(entry.process, signal.SIGTERM)
            if not await _within(running.ended, _STOP[now]):
                processes.send(entry.process, signal.SIGKILL)
            if not await _within(running.ended, _SWEEP) or not await _within(running.swept, 2 * _SWEEP):
                raise Refusal("error", f"processes of the server {entry.user}/{entry.server} do not end")
            log.info("stopped the server %s/%s, pid %d", *key, entry.pid)
            return "running"

    async def stop_all(self) -> int:
        """How many servers ran and were stopped."""
        answers = await asyncio.gather(*(self.stop(key, False) for key in self._running), return_exceptions=True)
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

    def trim_logs(self, folder: Path) -> None:
        """Once in a while: logs that a running server has filled."""
        for user in {user for user, _ in self._running}:
            with contextlib.suppress(OSError):
                folders.trim_log(folder / f"server-{user}.log")

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _watch(self, running: Running) -> None:
        """Have `_gone` called when the main process ends."""
        try:
            descriptor = processes.open_pidfd(running.entry.process)
        except ProcessLookupError:
            self._ended(running)
            return
        if descriptor is None:
            self._background(self._poll(running))
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._ended(running)

        loop.add_reader(descriptor, ended)

    async def _poll(self, running: Running) -> None:
        while processes.alive(running.entry.process):
            await asyncio.sleep(_POLL)
        self._ended(running)

    def _ended(self, running: Running) -> None:
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
            if waited > _SWEEP:
                log.warning("%d processes of %s/%s do not end", len(left), *entry.key)
                return  # still in the registry: the next warden tries again
            harsh = running.hurry or waited > _GRACE
            if harsh:
                await asyncio.to_thread(cgroups.kill, cage)
            for process in left:
                processes.send(process, signal.SIGKILL if harsh else signal.SIGTERM)
            await asyncio.sleep(0.02 if harsh else 0.1)
        await cgroups.remove(cage)
        self._registry.remove(entry)
        running.swept.set()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _start_failed(sentence: str) -> Refusal:
    return Refusal("start-failed", sentence)


def _allowed(person: Person, settings: Settings) -> Limits:
    usual = Limits(settings.memory, settings.cpu, settings.tasks)
    groups = accounts.among(person, settings.limits.get("groups", {}))
    return limits.resolve(settings.limits, usual, person.name, groups)


def _family(entry: Entry, known: Iterable[Process] = ()) -> set[Process]:
    """Every living process of a server. Blocks.

    In a cage those are its members, which only root can take out; elsewhere all of /proc is looked through.
    """
    kernels = {Process(*item) for item in entry.kernels}
    if not entry.paths:
        return processes.family(entry.family, {*known, *kernels})
    anchors = (entry.process, *known, *kernels)
    # A number that came to mean another account's process is never taken for one of these.
    found = {one for one in anchors if processes.alive(one) and processes.uids(one.pid) == {entry.uid}}
    for pid in cgroups.members(entry.cage):
        seen = processes.see(pid)
        if seen is not None and seen.alive:
            found.add(seen.process)
    return found
