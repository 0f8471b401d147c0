"""The inner process: starts the services in order, watches them, restarts them and stops them in reverse order.

It holds the lock `supervisor.lock`, so that there is only one. Everything it must not forget is in supervisor.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import sys
import time
from enum import Enum
from pathlib import Path

from manylab.base.errors import ManylabError
from manylab.supervise import children, processes
from manylab.supervise.definition import Definition, Service, load
from manylab.supervise.folders import make_folder
from manylab.supervise.logs import Tail, last_lines, rotate
from manylab.supervise.output import Output
from manylab.supervise.processes import Identity
from manylab.supervise.record import Record, read_state, remove_files, write_record
from manylab.supervise.signals import HANDLED, SignalQueue
from manylab.supervise.states import State
from manylab.supervise.unit import Asking, Unit
from manylab.system.namespaces import become_subreaper

EXIT_LOCKED = 75  # sysexits.h EX_TEMPFAIL
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG
NOTE_LOCKED, NOTE_READY = b"L", b"R"  # what the guardian is told through a pipe
PROBE_EVERY = 0.05  # seconds
LOOK_EVERY = 0.25  # where the kernel has no pidfds
ROTATE_EVERY = 30.0
LOCK_PATIENCE = 5.0  # a service between fork and exec still holds the lock of an inner process that was killed
STRAY_ROUNDS = 10


class Request(str, Enum):
    """What the inner process is to come to."""

    SERVE = "serve"
    STOP = "stop"  # everything, people's servers too
    LEAVE = "leave"  # the services, not people's servers


class Inner:
    """The loop. `run` returns the exit status of the process."""

    def __init__(
        self,
        path: Path,
        *,
        foreground: bool,
        guardian: Identity | None,
        note_fd: int | None = None,
        request: Request = Request.SERVE,
        verbose: bool = False,
    ) -> None:
        self.path = path
        self.definition: Definition = load(path)
        self.foreground = foreground
        self.guardian = guardian
        self.note_fd = note_fd
        self.request = request
        self.out = Output(timestamps=not foreground)
        self.verbose = verbose
        self.units: list[Unit] = []
        self.to_stop: list[Unit] = []
        self.reload_wanted = False
        self.exits: dict[int, int] = {}
        self.changed = True
        self.told_ready = False
        self.since = time.time()
        self.next_rotation = time.monotonic() + ROTATE_EVERY
        self.tails: dict[str, Tail] = {}
        self.selector = selectors.DefaultSelector()

    # --- the process -------------------------------------------------------------------------------------------

    def run(self) -> int:
        self.signals = SignalQueue()
        self.selector.register(self.signals, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            become_subreaper()
        state = self.definition.state
        state.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = self._lock(state / "supervisor.lock")
        if lock is None:
            return EXIT_LOCKED
        self._note(NOTE_LOCKED)
        self._make_folders(self.definition)
        self._watch_guardian()
        self._adopt(read_state(state))
        if self.request is not Request.SERVE:
            self._stop_all()
        while not self._finished():
            self._turn()
        self._leave_nothing()
        remove_files(state)
        self.out.say("stopped" if self.request is Request.STOP else "stopped; people's servers go on")
        return 0

    def _lock(self, path: Path) -> int | None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if time.monotonic() > until:
                    self.out.say(f"another supervisor holds {path}")
                    os.close(fd)
                    return None
                time.sleep(0.05)

    def _make_folders(self, definition: Definition) -> None:
        for spec in definition.directories:
            try:
                make_folder(spec)
            except (ManylabError, OSError, KeyError) as error:
                self.out.say(f"folder {spec.path}: {error}")

    def _note(self, message: bytes) -> None:
        if self.note_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self.note_fd, message)

    def _watch_guardian(self) -> None:
        self.guardian_fd: int | None = None
        if self.guardian is not None:
            with contextlib.suppress(OSError):
                self.guardian_fd = processes.open_pidfd(self.guardian)
        if self.guardian_fd is not None:
            self.selector.register(self.guardian_fd, selectors.EVENT_READ)

    # --- one turn ----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._take_signals()
        if self.guardian is not None and not processes.is_alive(self.guardian):
            self._guardian_is_gone()
        ended = [unit for unit in self.units if unit.has_process and not processes.is_alive(unit.who)]
        self.exits.update(processes.reap())  # after looking, so that every one of `ended` has its status
        for unit in ended:
            self._ended(unit)
        self.exits.clear()  # what is left was nobody's: orphans that came to us
        now = time.monotonic()
        wake = min(self._advance(now), self._chores(now))
        if self.changed:
            self._write()
        self.selector.select(max(0.0, wake - time.monotonic()))

    def _take_signals(self) -> None:
        for number in self.signals.take():
            if number in (signal.SIGTERM, signal.SIGINT) or (number == signal.SIGHUP and self.foreground):
                self.request = Request.STOP
                self._stop_all()
            elif number == signal.SIGUSR1 and self.request is Request.SERVE:
                self.request = Request.LEAVE
                self._stop_all()
            elif number in (signal.SIGUSR2, signal.SIGHUP):
                self.reload_wanted = True

    def _advance(self, now: float) -> float:
        """Move every service as far as it can go now; returns when there is something to do again."""
        before = self._progress()
        if self.to_stop:
            self._stop_next(now)
        elif self.reload_wanted and self.request is Request.SERVE:
            self.reload_wanted = False
            self._reload()
        wake = now + 60.0
        all_before_are_ready = True
        for unit in self.units:
            may_start = (not self.to_stop and self.request is Request.SERVE) or unit.asked
            if unit.state is State.WAITING and may_start and all_before_are_ready:
                self._start(unit, now)
            elif unit.state is State.BACKOFF and may_start and now >= unit.deadline:
                self._start(unit, now)
            if unit.state is State.STARTING:
                self._probe(unit, now)
            if unit.state is State.STOPPING and now >= unit.deadline:
                processes.send(unit.who, signal.SIGKILL)
                unit.deadline = now + 1.0
            all_before_are_ready = all_before_are_ready and unit.state is State.RUNNING
            wake = min(wake, self._wake_of(unit, now))
        if all_before_are_ready and not self.told_ready and self.request is Request.SERVE:
            self.told_ready = True
            self._write()
            self._note(NOTE_READY)
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
            soon = now + 60.0
        return min(soon, now + LOOK_EVERY) if unit.has_process and unit.pidfd is None else soon

    def _chores(self, now: float) -> float:
        if now >= self.next_rotation:
            self.next_rotation = now + ROTATE_EVERY
            for name in [*(unit.service.name for unit in self.units), "supervisor"]:
                rotate(self.definition.logs / f"{name}.log", self.definition.log_size)
        if not self.verbose:
            return self.next_rotation
        for unit in self.units:
            tail = self.tails.setdefault(unit.service.name, Tail(unit.log))
            for line in tail.lines():
                self.out.say(f"{unit.service.name} | {line}")
        return now + 0.5

    # --- starting and ending -----------------------------------------------------------------------------------

    def _start(self, unit: Unit, now: float) -> None:
        unit.move(State.STARTING)
        self.changed = True
        unit.was_ready = False
        unit.deadline = now + unit.service.ready_timeout
        try:
            self._sweep(unit, None)
            who = children.start(unit.service, unit.log)
        except (OSError, KeyError, ManylabError) as error:
            self._fell(unit, f"cannot be started: {error}", 0.0)
            return
        if who is None or not unit.watch(who):
            self._fell(unit, "ended at once", 0.0)
            return
        if unit.pidfd is not None:
            self.selector.register(unit.pidfd, selectors.EVENT_READ)
        self._write()  # at once: should we be killed now, the next inner process must know of it

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

    def _ended(self, unit: Unit) -> None:
        who, lived = unit.who, unit.lived
        status = self.exits.get(who.pid) if who else None
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
        unit.backoff = unit.backoff.after_exit(lived=lived, was_ready=unit.was_ready)
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
            found = children.strays(unit.service, ended, supervisors, others, own_account)
            if not found:
                return
            children.end_all(found, patience=0.0)
            processes.reap()

    # --- stopping ----------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
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
            unit.backoff = type(unit.backoff)()
            unit.move(State.WAITING)

    def _finished(self) -> bool:
        return self.request is not Request.SERVE and not self.to_stop

    def _leave_nothing(self) -> None:
        """After a full stop: end what is still below us (a server that the warden could not end, a forgotten child)."""
        if self.request is not Request.STOP:
            return
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

    # --- adopting and reloading --------------------------------------------------------------------------------

    def _adopt(self, record: Record | None) -> None:
        known = {service.name: service for service in record.services} if record else {}
        boot = record.boot_id if record else ""
        if record is not None and supervisor_goes_on(record):
            self.since = record.since
        wanted = {service.name for service in self.definition.services}
        for name in [name for name in known if name not in wanted]:
            gone = self._unit(Service(name=name, argv=("/",), account=None))
            if gone.adopt(known[name], boot):
                gone.removed = True
                self.to_stop.append(gone)
                self.units.append(gone)
        for service in self.definition.services:
            unit = self._unit(service)
            self.units.append(unit)
            if service.name not in known or not unit.adopt(known[service.name], boot):
                continue
            self.out.say(f"{service.name} goes on (pid {unit.who.pid if unit.who else '?'})")
            stopping = unit.state is State.STOPPING
            unit.deadline = time.monotonic() + (service.stop_timeout if stopping else service.ready_timeout)
            if stopping or known[service.name].digest != service.digest:
                self.to_stop.insert(0, unit)
        for unit in self.units:
            if unit.pidfd is not None:
                self.selector.register(unit.pidfd, selectors.EVENT_READ)

    def _unit(self, service: Service) -> Unit:
        return Unit(service, self.definition.logs / f"{service.name}.log")

    def _reload(self) -> None:
        try:
            new = load(self.path)
        except ManylabError as error:
            self.out.say(f"{error.message}; going on as before")
            return
        self._make_folders(new)
        have = {unit.service.name: unit for unit in self.units}
        units = []
        for service in new.services:
            unit = have.pop(service.name, None)
            if unit is None:
                unit = self._unit(service)
            elif unit.service.digest != service.digest:
                unit.replacement = service
                self.to_stop.insert(0, unit)
            units.append(unit)
        for unit in have.values():
            unit.removed = True
            self.to_stop.insert(0, unit)
            units.append(unit)
        self.definition, self.units = new, units
        self.told_ready = False
        self.changed = True
        self.out.say("read services.json again: " + (", ".join(u.service.name for u in self.to_stop) or "nothing changed"))

    def _guardian_is_gone(self) -> None:
        if self.guardian_fd is not None:
            self.selector.unregister(self.guardian_fd)
            os.close(self.guardian_fd)
            self.guardian_fd = None
        self.guardian = None
        if self.foreground and self.request is Request.SERVE:
            self.request = Request.STOP
            self._stop_all()
        elif self.request is Request.SERVE:
            self.out.say("the guardian is gone; taking its place")
            self.take_over()

    def take_over(self) -> None:
        """Become the guardian by exec: same pid, so the services stay our children; the lock closes by itself.

        Signals wait, blocked, until the guardian listens.
        """
        self._write()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        os.execv(sys.executable, [sys.executable, "-I", "-m", "manylab.supervise", str(self.path), "--taken-over"])

    def _write(self) -> None:
        record = Record(
            mode="foreground" if self.foreground else "service",
            boot_id=processes.boot_id(),
            since=round(self.since, 3),
            written=round(time.time(), 3),
            guardian=self.guardian,
            inner=processes.identify(os.getpid()),
            stopping=self.request is not Request.SERVE,
            services=tuple(unit.record() for unit in self.units),
        )
        try:
            write_record(self.definition.state, record)
            self.changed = False
        except OSError as error:  # a full disk: go on, try again at the next turn
            self.out.say(f"cannot write supervisor.json: {error}")


def supervisor_goes_on(record: Record) -> bool:
    """Whether the record is of this boot, so that `since` still means something."""
    return record.boot_id == processes.boot_id()


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
