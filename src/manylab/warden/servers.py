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
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from manylab.warden import accounts, folders, processes, spawn
from manylab.warden.accounts import Person
from manylab.warden.messages import Refusal, Start
from manylab.warden.processes import Process
from manylab.warden.registry import Entry, Registry
from manylab.warden.settings import Settings

log = logging.getLogger("manylab.warden")

Key = tuple[str, str]

_START: Final = 30.0  # seconds for a child to become a server; a home on a slow network file system takes its time
_STOP: Final = {False: 10.0, True: 1.0}  # seconds between SIGTERM and SIGKILL, by `now`
_GRACE: Final = 1.0  # seconds for what a server left behind to end by itself
_SWEEP: Final = 15.0  # seconds after which processes that cannot be ended are given up (waiting for a dead disk)
_REMEMBERED: Final = 1000  # exit statuses
_POLL: Final = 1.0  # seconds, on kernels without pidfd


class Running:
    """One running server. process: None when an earlier warden started it; nobody then learns its exit status."""

    def __init__(self, entry: Entry, process: subprocess.Popen[bytes] | None) -> None:
        self.entry = entry
        self.process = process
        self.ended = asyncio.Event()  # the main process is gone
        self.swept = asyncio.Event()  # and all that it started
        self.known: set[Process] = set()
        self.hurry = False


class Servers:
    """Every server of the site. All methods run in the event loop; one start or stop at a time for each server."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._running: dict[Key, Running] = {}
        self._exited: OrderedDict[Key, int | None] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._systemd: int | None = None  # its version, once asked

    def adopt(self) -> None:
        """Take over the servers of the warden before this one."""
        boot = processes.boot_id()
        for entry in self._registry.entries():
            if entry.boot != boot:
                self._registry.remove(entry)
                continue
            running = Running(entry, None)
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
        if settings.scopes is not None and self._systemd is None:
            self._systemd = await asyncio.to_thread(spawn.systemd_version)
        plan = spawn.plan(message, person, settings, folder, self._systemd or 0)
        output = None if settings.log_dir is None else folders.open_log(settings.log_dir, person.name)
        try:
            child = spawn.launch(plan, output)
        finally:
            if output is not None:
                os.close(output)
        seen = processes.see(child.pid)  # ours and not yet waited for, so the number is still its own
        entry = Entry(
            user=person.name,
            server=message.server,
            uid=person.uid,
            pid=child.pid,
            starttime=seen.process.starttime if seen is not None else 0,
            boot=processes.boot_id(),
            since=time.time(),
            socket=str(plan.socket),
            scope=plan.scope,
            marker=plan.marker,
        )
        # Remembered before the child has its order: a warden that dies now leaves a child that reads the end of its
        # input and ends, never a server that nobody knows.
        self._registry.write(entry)
        conversation = asyncio.get_running_loop().run_in_executor(None, spawn.converse, child, plan.order)
        try:
            refusal = spawn.judge(await asyncio.wait_for(asyncio.shield(conversation), _START))
        except (asyncio.TimeoutError, TimeoutError):
            refusal = Refusal("start-failed", f"the server was not started within {_START:.0f} s")
        if refusal is not None:
            child.kill()
            await asyncio.to_thread(child.wait)
            self._registry.remove(entry)
            log.warning("starting %s/%s: %s", *entry.key, refusal.message)
            raise refusal
        audit = processes.audit_session(child.pid)
        if audit is not None and audit != processes.audit_session(os.getpid()):  # else the child could not begin one
            entry = replace(entry, audit=audit)
            self._registry.write(entry)
        running = self._running[entry.key] = Running(entry, child)
        self._exited.pop(entry.key, None)
        log.info("started the server %s/%s, pid %d", *entry.key, entry.pid)
        self._watch(running)
        return entry

    async def stop(self, key: Key, now: bool) -> str:
        """`running` or `gone`, what it was; all that the server started is gone afterwards. Raises Refusal `error`."""
        async with self._lock(key):
            running = self._running.get(key)
            if running is None:
                return "gone"
            entry = running.entry
            running.hurry = now
            # Before the signal, while parents still point at their children.
            running.known = await asyncio.to_thread(processes.family, entry.family)
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
        status = None if running.process is None else running.process.poll()  # reaps our own child and no other
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
        if entry.scope is not None:
            with contextlib.suppress(OSError):
                await _systemctl_stop(entry.scope)
        begun = time.monotonic()
        while left := await asyncio.to_thread(processes.family, entry.family, left):
            waited = time.monotonic() - begun
            if waited > _SWEEP:
                log.warning("%d processes of %s/%s do not end", len(left), *entry.key)
                return  # still in the registry: the next warden tries again
            harsh = running.hurry or waited > _GRACE
            for process in left:
                processes.send(process, signal.SIGKILL if harsh else signal.SIGTERM)
            await asyncio.sleep(0.02 if harsh else 0.1)
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


async def _systemctl_stop(scope: str) -> None:
    """Everything in the scope's cgroup gets SIGTERM, then SIGKILL. A scope that is gone already is no error."""
    process = await asyncio.create_subprocess_exec(
        *("systemctl", "stop", "--", scope),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(process.wait(), _SWEEP)
    except (asyncio.TimeoutError, TimeoutError):
        log.warning("systemctl stop %s takes longer than %.0f s", scope, _SWEEP)
        process.kill()
