"""The services together: each is moved as far as it can go now. Started in order, stopped in reverse order."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from enum import Enum

from manylab.base.errors import ManylabError
from manylab.supervise import children, processes
from manylab.supervise.logs import last_lines
from manylab.supervise.output import Output
from manylab.supervise.processes import Identity
from manylab.supervise.states import Backoff, State
from manylab.supervise.unit import Asking, Unit

PROBE_EVERY = 0.05  # seconds
LOOK_EVERY = 0.25  # where the kernel has no pidfds
IDLE = 60.0
STRAY_ROUNDS = 10


class Request(str, Enum):
    """What the supervisor is to come to."""

    SERVE = "serve"
    STOP = "stop"  # everything, people's servers too
    LEAVE = "leave"  # the services, not people's servers


class Fleet:
    """The services and what is to become of them. `save` is called when a process was started, before anything else.

    changed: something happened that supervisor.json does not tell yet.
    """

    def __init__(
        self, selector: selectors.BaseSelector, out: Output, save: Callable[[], None], request: Request = Request.SERVE
    ) -> None:
        self.selector = selector
        self.out = out
        self.save = save
        self.request = request
        self.guardian: Identity | None = None
        self.units: list[Unit] = []
        self.to_stop: list[Unit] = []
        self.changed = True

    @property
    def finished(self) -> bool:
        return self.request is not Request.SERVE and not self.to_stop

    @property
    def all_run(self) -> bool:
        return all(unit.state is State.RUNNING for unit in self.units)

    def watch(self, unit: Unit) -> None:
        """Have the loop wake up when the unit's process ends."""
        if unit.pidfd is not None:
            self.selector.register(unit.pidfd, selectors.EVENT_READ)

    def collect(self) -> None:
        """Notice which processes have ended."""
        ended = [unit for unit in self.units if unit.has_process and not processes.is_alive(unit.who)]
        exits = processes.reap()  # after looking, so that every one of `ended` has its status; the rest are orphans
        for unit in ended:
            self._ended(unit, exits.get(unit.who.pid) if unit.who else None)

    def advance(self, now: float) -> float:
        """Move every service as far as it can go now; returns when there is something to do again."""
        before = self._progress()
        if self.to_stop:
            self._stop_next(now)
        wake = now + IDLE
        all_before_are_ready = True
        for unit in self.units:
            may_start = (not self.to_stop and self.request is Request.SERVE) or unit.asked
            is_due = all_before_are_ready if unit.state is State.WAITING else now >= unit.deadline
            if may_start and is_due and unit.state in (State.WAITING, State.BACKOFF):
                self._start(unit, now)
            if unit.state is State.STARTING:
                self._probe(unit, now)
            if unit.state is State.STOPPING and now >= unit.deadline:
                processes.send(unit.who, signal.SIGKILL)
                unit.deadline = now + 1.0
            all_before_are_ready = all_before_are_ready and unit.state is State.RUNNING
            wake = min(wake, self._wake_of(unit, now))
        return wake if self._progress() == before else now

    def _progress(self) -> tuple[object, ...]:
        """Changes whenever something was done that may allow the next thing at once."""
        head = self.to_stop[0] if self.to_stop else None
        asking = head is not None and head.asking is not None and not head.asking.done
        return (head, head.state if head else None, asking, [unit.state for unit in self.units])

    def _wake_of(self, unit: Unit, now: float) -> float:
        if unit.state is State.STARTING:
            return now + PROBE_EVERY
        if unit.state in (State.STOPPING, State.BACKOFF) and unit.deadline > now:
            soon = unit.deadline
        elif unit.asking is not None:
            soon = unit.asking.deadline
        else:
            soon = now + IDLE
        return min(soon, now + LOOK_EVERY) if unit.has_process and unit.pidfd is None else soon

    def _start(self, unit: Unit, now: float) -> None:
        unit.move(State.STARTING)
        self.changed = True
        unit.was_ready = False
        unit.deadline = now + unit.service.ready_timeout
        try:
            self._sweep(unit, None)
            who = children.start(unit.service, unit.log, unit.mark)
        except (OSError, KeyError, ManylabError) as error:
            self._fell(unit, f"cannot be started: {error}", 0.0)
            return
        if who is None or not unit.watch(who):
            self._fell(unit, "ended at once", 0.0)
            return
        self.watch(unit)
        self.save()  # at once: should we be killed now, the next inner process must know of it

    def _probe(self, unit: Unit, now: float) -> None:
        if children.is_ready(unit.service):
            unit.became_ready()
            self.changed = True
            self.out.say(f"{unit.service.name} is up (pid {unit.who.pid if unit.who else '?'})")
        elif now >= unit.deadline:
            self.out.say(f"{unit.service.name} did not get ready in {unit.service.ready_timeout:g} s")
            self._ask_to_end(unit, State.BACKOFF, now)

    def _ask_to_end(self, unit: Unit, after: State, now: float) -> None:
        unit.after_stop = after
        unit.move(State.STOPPING)
        unit.deadline = now + unit.service.stop_timeout
        self.changed = True
        processes.send(unit.who, signal.SIGTERM)

    def _ended(self, unit: Unit, status: int | None) -> None:
        who, lived = unit.who, unit.lived
        self._let_go(unit)
        self._sweep(unit, who)
        said = describe_exit(status)
        if unit.state is State.STOPPING and unit.after_stop is State.STOPPED:
            unit.last_exit = said
            unit.move(State.STOPPED)
            self.changed = True
        else:
            self._fell(unit, said, lived)

    def _fell(self, unit: Unit, why: str, lived: float) -> None:
        """A service ended that should not have."""
        self._let_go(unit)
        unit.last_exit = why
        unit.restarts += 1
        # A kill from outside is nobody's failure to start: it costs no more than a death after having been ready.
        killed = why == describe_exit(-signal.SIGKILL)
        unit.backoff = unit.backoff.after_exit(lived=lived, was_ready=unit.was_ready or killed)
        unit.move(State.BACKOFF)
        unit.deadline = time.monotonic() + unit.backoff.delay
        self.changed = True
        self.out.say(f"{unit.service.name} {why}; again in {unit.backoff.delay:.1f} s")
        if not unit.was_ready:
            for line in last_lines(unit.log):
                self.out.say(f"    {line}")

    def _let_go(self, unit: Unit) -> None:
        for watched in (unit.pidfd, unit.asking):
            if watched is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self.selector.unregister(watched)
        unit.forget()

    def _sweep(self, unit: Unit, ended: Identity | None) -> None:
        """End what a service left behind, so that there are never two copies of it."""
        supervisors = {os.getpid()} | ({self.guardian.pid} if self.guardian else set())
        others = {other.who.pid for other in self.units if other.who is not None and other is not unit}
        own_account = [other.service.account for other in self.units].count(unit.service.account) == 1
        for _ in range(STRAY_ROUNDS):  # killing one makes orphans of its children: look again
            found = children.strays(unit.service, unit.mark, ended, supervisors, others, own_account)
            if not found:
                return
            children.end_all(found, patience=0.0)
            processes.reap()

    def stop_all(self, request: Request) -> None:
        """Bring everything to its end, in reverse order."""
        self.request = request
        self.to_stop = list(reversed(self.units))

    def _stop_next(self, now: float) -> None:
        """Bring the first of `to_stop` one move nearer to its end."""
        unit = self.to_stop[0]
        question = unit.service.before_stop if self.request is Request.STOP else None
        if unit.state is State.STOPPED or (unit.state is State.WAITING and self.request is not Request.SERVE):
            self._stopped(unit)
        elif unit.state is State.BACKOFF and question is not None and not unit.asked:
            # The warden is down just now, and only it can end people's servers: have it back for that.
            unit.asked = True
            unit.deadline = now
        elif unit.state in (State.WAITING, State.BACKOFF) and not (unit.asked and unit.state is State.WAITING):
            unit.move(State.STOPPED)
        elif unit.state is State.RUNNING and question is not None and unit.asking is None:
            unit.asked = True
            unit.asking = Asking(unit.service.ready_socket or "", question, unit.service.before_stop_timeout)
            if not unit.asking.done:
                self.selector.register(unit.asking, selectors.EVENT_READ)
        elif unit.state is State.RUNNING and unit.asking is not None:
            self._asked(unit, unit.asking, now)
        elif unit.state is State.STARTING and question is not None and unit.restarts and not unit.asked:
            unit.asked = True  # it is on its way back, and people's servers wait for it
        elif unit.state is State.RUNNING or (unit.state is State.STARTING and not unit.asked):
            self._ask_to_end(unit, State.STOPPED, now)
        elif unit.state is State.STOPPING:
            unit.after_stop = State.STOPPED

    def _asked(self, unit: Unit, asking: Asking, now: float) -> None:
        if not asking.done:
            asking.read()
        if not asking.done and now < asking.deadline:
            return
        if not asking.granted:
            said = asking.answer.decode("utf-8", "replace").strip()[:200] or "no answer"
            self.out.say(f"{unit.service.name} did not end people's servers: {said}")
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(asking)
        asking.close()
        unit.asking = None
        self._ask_to_end(unit, State.STOPPED, now)

    def _stopped(self, unit: Unit) -> None:
        self.to_stop.remove(unit)
        self.changed = True
        if unit.removed:
            self.units.remove(unit)
        elif self.request is Request.SERVE:
            if unit.replacement is not None:
                unit.service, unit.replacement = unit.replacement, None
            unit.backoff = Backoff()
            unit.move(State.WAITING)

    def leave_nothing(self) -> None:
        """After a full stop: end what is still below us (a server that the warden could not end, a forgotten child)."""
        roots = {os.getpid()} | ({self.guardian.pid} if processes.is_alive(self.guardian) and self.guardian else set())
        for _ in range(STRAY_ROUNDS):
            processes.reap()
            table = processes.everything()
            below = processes.descendants(roots, table)
            if not below:
                return
            left = [Identity(pid, table[pid].starttime, processes.boot_id()) for pid in below]
            self.out.say(f"ending {len(left)} processes that were left")
            children.end_all(left, patience=3.0)


def describe_exit(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
