"""The inner process: holds the lock, reads services.json, adopts what an earlier one started, and runs the loop.

`supervisor.lock` makes it the only one. Everything it must not forget is in supervisor.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import sys
import time
from pathlib import Path

from manylab.base.errors import ManylabError
from manylab.supervise import processes
from manylab.supervise.definition import Definition, Service, load
from manylab.supervise.fleet import LOOK_EVERY, Fleet, Request
from manylab.supervise.folders import make_folder
from manylab.supervise.logs import Tail, rotate
from manylab.supervise.output import Output
from manylab.supervise.processes import Identity
from manylab.supervise.record import Record, read_state, remove_files, write_record
from manylab.supervise.signals import HANDLED, SignalQueue
from manylab.supervise.states import State
from manylab.supervise.unit import Unit
from manylab.system.namespaces import become_subreaper

EXIT_LOCKED = 75  # sysexits.h EX_TEMPFAIL
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG
NOTE_LOCKED, NOTE_READY = b"L", b"R"  # what the guardian is told through a pipe
ROTATE_EVERY = 30.0  # seconds
TAIL_EVERY = 0.5
LOCK_PATIENCE = 5.0  # a service between fork and exec still holds the lock of an inner process that was killed


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
        self.note_fd = note_fd
        self.out = Output(timestamps=not foreground)
        self.verbose = verbose
        self.selector = selectors.DefaultSelector()
        self.fleet = Fleet(self.selector, self.out, self._write, request)
        self.fleet.guardian = guardian
        self.guardian_fd: int | None = None
        self.reload_wanted = False
        self.told_ready = False
        self.since = time.time()
        self.next_rotation = time.monotonic() + ROTATE_EVERY
        self.tails: dict[str, Tail] = {}

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
        if self.fleet.request is not Request.SERVE:
            self.fleet.stop_all(self.fleet.request)
        while not self.fleet.finished:
            self._turn()
        if self.fleet.request is Request.STOP:
            self.fleet.leave_nothing()
        remove_files(state)
        self.out.say("stopped" if self.fleet.request is Request.STOP else "stopped; people's servers go on")
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
        if self.fleet.guardian is not None:
            with contextlib.suppress(OSError):
                self.guardian_fd = processes.open_pidfd(self.fleet.guardian)
        if self.guardian_fd is not None:
            self.selector.register(self.guardian_fd, selectors.EVENT_READ)

    # --- one turn ----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._take_signals()
        if self.fleet.guardian is not None and not processes.is_alive(self.fleet.guardian):
            self._guardian_is_gone()
        self.fleet.collect()
        if self.reload_wanted and self.fleet.request is Request.SERVE and not self.fleet.to_stop:
            self.reload_wanted = False
            self._reload()
        now = time.monotonic()
        wake = min(self.fleet.advance(now), self._chores(now))
        if self.fleet.guardian is not None and self.guardian_fd is None:
            wake = min(wake, now + LOOK_EVERY)
        if self.fleet.changed:
            self._write()
        if self.fleet.all_run and not self.told_ready and self.fleet.request is Request.SERVE:
            self.told_ready = True
            self._note(NOTE_READY)
        if self.reload_wanted and not self.fleet.to_stop:
            return
        self.selector.select(max(0.0, wake - time.monotonic()))

    def _take_signals(self) -> None:
        for number in self.signals.take():
            if number in (signal.SIGTERM, signal.SIGINT) or (number == signal.SIGHUP and self.foreground):
                self.fleet.stop_all(Request.STOP)
            elif number == signal.SIGUSR1 and self.fleet.request is Request.SERVE:
                self.fleet.stop_all(Request.LEAVE)
            elif number in (signal.SIGUSR2, signal.SIGHUP):
                self.reload_wanted = True

    def _chores(self, now: float) -> float:
        if now >= self.next_rotation:
            self.next_rotation = now + ROTATE_EVERY
            for name in [*(unit.service.name for unit in self.fleet.units), "supervisor"]:
                rotate(self.definition.logs / f"{name}.log", self.definition.log_size)
        if not self.verbose:
            return self.next_rotation
        for unit in self.fleet.units:
            tail = self.tails.setdefault(unit.service.name, Tail(unit.log))
            for line in tail.lines():
                self.out.say(f"{unit.service.name} | {line}")
        return now + TAIL_EVERY

    # --- adopting and reloading --------------------------------------------------------------------------------

    def _adopt(self, record: Record | None) -> None:
        known = {service.name: service for service in record.services} if record else {}
        boot = record.boot_id if record else ""
        if record is not None and record.boot_id == processes.boot_id():
            self.since = record.since
        wanted = {service.name for service in self.definition.services}
        for name in [name for name in known if name not in wanted]:
            gone = self._unit(Service(name=name, argv=("/",), account=None))
            if gone.adopt(known[name], boot):
                gone.removed = True
                self.fleet.to_stop.append(gone)
                self.fleet.units.append(gone)
        for service in self.definition.services:
            unit = self._unit(service)
            self.fleet.units.append(unit)
            if service.name not in known or not unit.adopt(known[service.name], boot):
                continue
            self.out.say(f"{service.name} goes on (pid {unit.who.pid if unit.who else '?'})")
            stopping = unit.state is State.STOPPING
            unit.deadline = time.monotonic() + (service.stop_timeout if stopping else service.ready_timeout)
            if stopping or known[service.name].digest != service.digest:
                self.fleet.to_stop.insert(0, unit)
        for unit in self.fleet.units:
            self.fleet.watch(unit)

    def _unit(self, service: Service) -> Unit:
        mark = processes.mark_of(self.definition.state, service.name)
        return Unit(service, self.definition.logs / f"{service.name}.log", mark)

    def _reload(self) -> None:
        try:
            new = load(self.path)
        except ManylabError as error:
            self.out.say(f"{error.message}; going on as before")
            return
        self._make_folders(new)
        have = {unit.service.name: unit for unit in self.fleet.units}
        units = []
        for service in new.services:
            unit = have.pop(service.name, None)
            if unit is None:
                unit = self._unit(service)
            elif unit.service.digest != service.digest:
                unit.replacement = service
                self.fleet.to_stop.insert(0, unit)
            units.append(unit)
        for unit in have.values():
            unit.removed = True
            self.fleet.to_stop.insert(0, unit)
            units.append(unit)
        self.definition, self.fleet.units = new, units
        self.told_ready = False
        self.fleet.changed = True
        self.out.say(
            "read services.json again: " + (", ".join(u.service.name for u in self.fleet.to_stop) or "nothing changed")
        )

    def _guardian_is_gone(self) -> None:
        if self.guardian_fd is not None:
            self.selector.unregister(self.guardian_fd)
            os.close(self.guardian_fd)
            self.guardian_fd = None
        self.fleet.guardian = None
        if self.foreground and self.fleet.request is Request.SERVE:
            self.fleet.stop_all(Request.STOP)
        elif self.fleet.request is Request.SERVE:
            self.out.say("the guardian is gone; taking its place")
            self.take_over()

    def take_over(self) -> None:
        """Become the guardian by exec: same pid, so the services stay our children; the lock closes by itself.

        Signals wait, blocked, until the guardian listens.
        """
        self._write()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        os.execv(  # noqa: S606
            sys.executable, [sys.executable, "-I", "-m", "manylab.supervise", str(self.path), "--taken-over"]
        )

    def _write(self) -> None:
        record = Record(
            mode="foreground" if self.foreground else "service",
            boot_id=processes.boot_id(),
            since=round(self.since, 3),
            written=round(time.time(), 3),
            guardian=self.fleet.guardian,
            inner=processes.identify(os.getpid()),
            stopping=self.fleet.request is not Request.SERVE,
            services=tuple(unit.record() for unit in self.fleet.units),
        )
        try:
            write_record(self.definition.state, record)
            self.fleet.changed = False
        except OSError as error:  # a full disk: go on, try again at the next turn
            self.out.say(f"cannot write supervisor.json: {error}")
