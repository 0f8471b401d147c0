"""The guardian: starts the inner process, starts it again when it is killed, and passes signals on. Knows no service.

It is what the pid file names, and in `manylab up` it is the process in the foreground.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from manylab.supervise import children, processes
from manylab.supervise.definition import load
from manylab.supervise.fleet import Request
from manylab.supervise.inner import EXIT_CONFIG, EXIT_LOCKED, NOTE_LOCKED, NOTE_READY
from manylab.supervise.output import Output
from manylab.supervise.processes import Identity
from manylab.supervise.record import PID_FILE, RESTART_FILE, living_services, read_state, remove_files, replace_text
from manylab.supervise.signals import SignalQueue
from manylab.supervise.states import Backoff
from manylab.system.namespaces import become_subreaper

_KILL_PATIENCE = 2.0


_STOP_TRIES = 5


def guard(path: Path, *, foreground: bool, verbose: bool = False, on_ready: Callable[[], None] | None = None) -> int:
    """Keep the services of services.json alive until asked to stop; returns the exit status.

    on_ready is called once, when every service answers. Raises ConfigError when services.json is wrong. Replaces the
    signal handlers of the process while it runs, so it must be called in the main thread, and no child processes of
    the caller's may be about: it collects them all.
    """
    guardian = Guardian(path, foreground=foreground, verbose=verbose, on_ready=on_ready)
    status = guardian.run()
    if status == 0 and guardian.request is Request.LEAVE:
        _start_anew(path, guardian.definition.state / RESTART_FILE)
    return status


def _start_anew(path: Path, wish: Path) -> None:
    """`restart`: go on in this very process, by exec, with the program as it is now."""
    with contextlib.suppress(OSError):
        python = wish.read_text(encoding="utf-8").strip()
        wish.unlink()
        os.execv(python, [python, "-I", "-m", "manylab.supervise", str(path)])  # noqa: S606


class Guardian:
    """The loop of the guardian."""

    def __init__(self, path: Path, *, foreground: bool, verbose: bool, on_ready: Callable[[], None] | None) -> None:
        self.path = path
        self.definition = load(path)
        self.foreground = foreground or self.definition.mode == "foreground"
        self.verbose = verbose
        self.on_ready = on_ready
        self.out = Output(timestamps=not self.foreground)
        self.request = Request.SERVE
        self.interrupts = 0
        self.inner: Identity | None = None
        self.started = 0.0
        self.next_start = 0.0
        self.backoff = Backoff()
        self.ever_locked = False
        self.locked = False  # the present inner process got as far as looking after the services
        self.failed_stops = 0
        self.selector = selectors.DefaultSelector()
        self.notes, self.note_fd = os.pipe()

    def run(self) -> int:
        signals = SignalQueue(respect_nohup=self.foreground)
        with contextlib.suppress(OSError):
            become_subreaper()
        os.set_blocking(self.notes, False)
        self.selector.register(signals, selectors.EVENT_READ)
        self.selector.register(self.notes, selectors.EVENT_READ)
        try:
            while True:
                for number in signals.take():
                    if self._signalled(number):
                        return 130  # 128 + SIGINT, as shells say it
                self._take_notes()
                status = self._look_after_inner()
                if status is not None:
                    return status
                self._wait()
        finally:
            signals.close()
            self.selector.close()
            os.close(self.notes)
            os.close(self.note_fd)

    def _wait(self) -> None:
        timeout = 60.0 if self.inner is not None else max(0.0, self.next_start - time.monotonic())
        self.selector.select(timeout)

    def _signalled(self, number: int) -> bool:
        """Pass a signal on; True when everything was killed instead, because of a third Ctrl-C."""
        if number == signal.SIGINT:
            self.interrupts += 1
            if self.interrupts == 1:
                self.out.say("stopping; press Ctrl-C twice more to kill at once")
            if self.interrupts == 2:
                self.out.say("press Ctrl-C once more to kill at once")
            if self.interrupts >= 3:
                self._kill_everything()
                return True
        if number in (signal.SIGTERM, signal.SIGINT) or (number == signal.SIGHUP and self.foreground):
            self.request = Request.STOP
            processes.send(self.inner, signal.SIGTERM)
        elif number == signal.SIGUSR1:
            if self.request is Request.SERVE:
                self.request = Request.LEAVE
            processes.send(self.inner, signal.SIGUSR1)
        elif number in (signal.SIGUSR2, signal.SIGHUP):
            processes.send(self.inner, signal.SIGUSR2)
        return False

    def _take_notes(self) -> None:
        try:
            notes = os.read(self.notes, 64)
        except BlockingIOError:
            return
        if NOTE_LOCKED in notes:
            self.ever_locked = self.locked = True
            with contextlib.suppress(OSError):
                replace_text(self.definition.state / PID_FILE, f"{os.getpid()}\n")
        if NOTE_READY in notes and self.on_ready is not None:
            self.on_ready()
            self.on_ready = None

    def _look_after_inner(self) -> int | None:
        """Start the inner process when there is none; returns an exit status when the work is done."""
        ended = processes.reap()
        if self.inner is not None:
            status = ended.get(self.inner.pid)
            if status is None:
                return None
            self.inner = None
            self._take_notes()
            if status == 0:
                return 0
            if status in (EXIT_LOCKED, EXIT_CONFIG) and not self.ever_locked:
                return status
            if self.request is not Request.SERVE:
                # Started again to finish stopping what it left; not for ever.
                self.failed_stops += 1
                if self.failed_stops >= _STOP_TRIES:
                    self.out.say(f"stopping failed {self.failed_stops} times ({status}); giving up")
                    return 1
            lived = time.monotonic() - self.started
            self.backoff = self.backoff.after_exit(lived=lived, was_ready=self.locked)
            self.next_start = time.monotonic() + (self.backoff.delay if self.request is Request.SERVE else 0.0)
            self.out.say(f"the supervisor's inner process ended ({status}); again in {self.backoff.delay:.1f} s")
        if time.monotonic() >= self.next_start:
            self._start_inner()
        return None

    def _start_inner(self) -> None:
        me = processes.identify(os.getpid())
        assert me is not None  # a process that runs is alive
        command = [
            sys.executable,
            "-I",
            "-m",
            "manylab.supervise",
            str(self.path),
            "--inner",
            f"{me.pid}:{me.starttime}",
        ]
        command += ["--note-fd", str(self.note_fd), "--request", self.request.value]
        command += ["--foreground"] * self.foreground + ["--verbose"] * self.verbose
        self.started = time.monotonic()
        self.locked = False
        try:
            # A session of its own: Ctrl-C in the terminal reaches the guardian alone, who passes it on in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[self.note_fd], cwd="/"
            )
        except OSError as error:
            self.backoff = self.backoff.after_exit(lived=0.0, was_ready=False)
            self.next_start = self.started + self.backoff.delay
            self.out.say(f"cannot start the supervisor's inner process: {error}")
            return
        process.returncode = 0  # reap() collects it, not Popen
        found = processes.stat(process.pid)
        assert found is not None  # not reaped yet, so at least a zombie
        self.inner = Identity(process.pid, found.starttime, processes.boot_id())

    def _kill_everything(self) -> None:
        """No more patience: everything below us, and what the record says that is not below us."""
        record = read_state(self.definition.state)
        processes.send(self.inner, signal.SIGKILL)
        until = time.monotonic() + _KILL_PATIENCE
        while time.monotonic() < until:
            processes.reap()
            table = processes.everything()
            below = [
                Identity(p, table[p].starttime, processes.boot_id())
                for p in processes.descendants({os.getpid()}, table)
            ]
            left = below + living_services(record)
            if not left:
                break
            children.end_all(left, patience=0.0)
        remove_files(self.definition.state)
        self.out.say("killed")
