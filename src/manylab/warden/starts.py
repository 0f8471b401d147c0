"""From a person who may have a server to one that answers: folders, limits, a process, its order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from manylab.base.limits import Limits, resolve
from manylab.warden import accounts, cgroups, folders, journal, processes, spawn
from manylab.warden.accounts import Person
from manylab.warden.machine import Machine
from manylab.warden.messages import Refusal, Start
from manylab.warden.nurseries import SERVERS, Nurseries
from manylab.warden.registry import Entry, Registry
from manylab.warden.running import SWEEP, Running, within
from manylab.warden.sessions import Session, Sessions, lift
from manylab.warden.settings import Settings
from manylab.warden.spawn import Plan, Seat
from manylab.warden.turns import Turn

log = logging.getLogger("manylab.warden")

_ANSWERS: Final = 60.0  # seconds for a server to say that it can be connected to; then the hub goes on looking
_BESIDE: Final = max(1, (os.cpu_count() or 1) - 1)  # cold starts that keep no nursery from getting ready
_WARM: Final = 2  # nurseries that are asked: one may be killed right now
_NOTICED: Final = 0.2  # seconds until the end of a nursery is known here
_DYING: Final = 1.0  # seconds between the last word of a process and its end


class Starting:
    """A start on its way. gone: whether whoever asked is; nobody would then know of the server, or have its token."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone
        self.unwanted = False  # it is to be stopped
        self.queued = True  # it waits for its turn: nothing of it is there, and nothing will be once it is given up
        self.over = asyncio.Event()  # there is a process that can be ended, or there will be none

    @property
    def given_up(self) -> bool:
        return self.unwanted or self._gone()


class Starts:
    """Starts servers. files: how many each may have open. begun: told of each process that has become a person's."""

    def __init__(
        self,
        registry: Registry,
        nurseries: Nurseries | None,
        sessions: Sessions,
        files: int,
        begun: Callable[[Running], None],
    ) -> None:
        self._registry = registry
        self._nurseries = nurseries
        self._sessions = sessions
        self._files = files
        self._begun = begun
        self._machine = Machine()
        self._beside = 0
        self._turns = asyncio.Semaphore(max(2, 2 * (os.cpu_count() or 1)))

    async def start(self, message: Start, person: Person, settings: Settings, starting: Starting) -> Entry:
        """A new server that answers, warm if that can be. Raises Refusal, OSError."""
        async with self._sessions.opened(person, settings) as session:
            return await self._start(message, person, settings, starting, session)

    async def _start(
        self, message: Start, person: Person, settings: Settings, starting: Starting, session: Session
    ) -> Entry:
        folder = await asyncio.to_thread(folders.for_person, settings, person)
        private = None
        if settings.private is not None and await self._machine.can_be_apart(settings.private):
            private = await asyncio.to_thread(folders.private_for, settings.private, person)
        allowed = await accounts.ask(_allowed, person, settings)
        held = await self._machine.limited(settings)
        processes_ = None if "tasks" in held else allowed.tasks
        plan = spawn.plan(message, person, settings, folder, private, allowed, processes_, self._files, session.traits)
        log_dir = settings.log_dir
        output = journal.open_stream() if log_dir is None else folders.open_log(log_dir, person.name)
        try:
            async with self._not_too_cold(settings), Turn(self._turns) as turn:
                if starting.given_up:
                    raise nobody_waits()
                starting.queued = False
                made = functools.partial(
                    self._one,
                    turn=turn,
                    plan=plan,
                    person=person,
                    message=message,
                    settings=settings,
                    output=output,
                    session=session,
                )
                if (entry := await self._warm(made, f"{person.name}/{message.server}", settings, starting)) is not None:
                    return entry
                if settings.nurseries:
                    log.info("%s/%s starts cold", person.name, message.server)
                return await made(spawn.cold(settings, output))
        finally:
            if output is not None:
                os.close(output)

    async def _warm(
        self, made: Callable[[Seat], Awaitable[Entry]], name: str, settings: Settings, starting: Starting
    ) -> Entry | None:
        """What `made` makes of a child of the nursery; None when there is none. Raises Refusal."""
        for _ in range(_WARM):
            nursery = None if self._nurseries is None else self._nurseries.get(SERVERS, settings)
            if self._nurseries is None or nursery is None:
                return None
            try:
                return await made(await spawn.warm(nursery))
            except spawn.NoServer as reason:
                log.warning("%s does not start warm: %s", name, reason)
            gone = await within(nursery.ended, _NOTICED)
            if gone:
                starting.queued = True
                await self._nurseries.coming(SERVERS)
            if starting.given_up:
                raise nobody_waits()
            starting.queued = False
            starting.over.clear()
            if not gone:
                return None
        return None

    @contextlib.asynccontextmanager
    async def _not_too_cold(self, settings: Settings) -> AsyncIterator[None]:
        """Where the nursery is about to be there, few start cold meanwhile, and the others wait for it.

        It needs one processor for some seconds, a cold start half as long: with a class at the door, everybody's cold
        starts would keep it from getting ready, and end later than warm ones that waited.
        """
        if self._nurseries is None or self._nurseries.get(SERVERS, settings) is not None:
            yield
            return
        beside = self._beside < _BESIDE
        if not beside:
            await self._nurseries.coming(SERVERS)
        self._beside += beside
        try:
            yield
        finally:
            self._beside -= beside

    async def _one(
        self,
        seat: Seat,
        turn: Turn,
        plan: Plan,
        person: Person,
        message: Start,
        settings: Settings,
        output: int | None,
        session: Session,
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
            groups=session.traits.groups,
            configured=plan.configured,
        )
        cage = cgroups.Cage("none")
        descriptor = None
        try:
            # While it can be looked at: later it is the person's, and may hang whoever looks.
            with contextlib.suppress(ProcessLookupError):
                descriptor = processes.open_pidfd(entry.process)
            # Remembered before the child has its order: a warden that dies now leaves a child that hears the end of its
            # connection and ends, never a server that nobody knows.
            self._registry.write(entry)
            cage = await self._cage(plan, person, seat.pid, settings)
            entry = replace(entry, scope=cage.scope, kind=cage.kind, paths=cage.paths)
            self._registry.write(entry)
            turn.watch(seat.pid)
            lift(seat.pid, {name: hard for name, (_, hard) in session.traits.limits.items()}, session.traits.nice)
            # Before the order: a warden that ends in between leaves no server whose session is closed.
            await session.holds(descriptor)
            await spawn.give(seat, plan.order, output)
        except BaseException as error:
            seat.talk.close()
            if seat.nursery is not None:
                seat.nursery.forget(seat.pid)
            await Running(entry, descriptor=descriptor).send(signal.SIGKILL)
            if descriptor is not None:
                os.close(descriptor)
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
        running = Running(entry, seat.process, seat.nursery, descriptor)
        self._begun(running)
        begun = time.monotonic()
        fault = await spawn.answers(seat, _ANSWERS)
        if fault is not None and await within(running.ended, _DYING):
            await within(running.swept, SWEEP)
            if running.unwanted:
                raise _start_failed("the server was stopped before it answered")
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


def nobody_waits() -> Refusal:
    """For whoever asked and is gone."""
    return _start_failed("nobody waits for this server any more")


def _start_failed(sentence: str) -> Refusal:
    return Refusal("start-failed", sentence)


def _allowed(person: Person, settings: Settings) -> Limits:
    usual = Limits(settings.memory, settings.cpu, settings.tasks)
    groups = accounts.among(person, settings.limits.get("groups", {}))
    return resolve(settings.limits, usual, person.name, groups)
