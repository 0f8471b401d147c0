"""One service while it is looked after: its state, its process and its patience."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from manylab.supervise import children, processes
from manylab.supervise.definition import Service
from manylab.supervise.processes import Identity
from manylab.supervise.record import ServiceRecord
from manylab.supervise.states import HAS_PROCESS, Backoff, State, move


class Unit:
    """A service, its state and its process. Decides nothing; `inner.Inner` does."""

    def __init__(self, service: Service, log: Path, mark: str) -> None:
        self.service = service
        self.mark = mark
        self.log = log
        self.state = State.WAITING
        self.since = time.time()
        self.who: Identity | None = None
        self.pidfd: int | None = None
        self.deadline = 0.0  # time.monotonic() at which the present state is no longer patient
        self.was_ready = False
        self.confined = False
        self.restarts = 0
        self.backoff = Backoff()
        self.last_exit: str | None = None
        self.after_stop = State.STOPPED
        self.replacement: Service | None = None
        self.removed = False
        self.asking: Asking | None = None
        self.asked = False

    def move(self, then: State) -> None:
        self.state = move(self.state, then)
        self.since = time.time()

    @property
    def has_process(self) -> bool:
        return self.state in HAS_PROCESS

    @property
    def lived(self) -> float:
        """Seconds since the process started, by the kernel's clock: also right for an adopted one."""
        if self.who is None:
            return 0.0
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.who.starttime / os.sysconf("SC_CLK_TCK")

    def watch(self, who: Identity) -> bool:
        """Hold on to a process; False when it is gone already."""
        self.who = who
        try:
            self.pidfd = processes.open_pidfd(who)
        except OSError:  # no pidfds here: the loop looks at /proc instead
            return processes.is_alive(who)
        return self.pidfd is not None

    def forget(self) -> None:
        """Let go of the process that has ended."""
        if self.pidfd is not None:
            os.close(self.pidfd)
        if self.asking is not None:
            self.asking.close()
        self.pidfd = self.who = self.asking = None
        self.confined = False

    def adopt(self, record: ServiceRecord, boot: str) -> bool:
        """Take over the process that an earlier inner process started, if that very process still lives."""
        self.restarts, self.backoff, self.last_exit = record.restarts, Backoff(record.steps), record.last_exit
        who = record.identity(boot)
        if who is None or not processes.is_alive(who) or not self.watch(who):
            self.forget()
            return False
        # Not by move(): this is no change of the service, only of who looks after it.
        self.state = State(record.state) if State(record.state) in HAS_PROCESS else State.STARTING
        self.since = record.since
        self.was_ready = self.state is State.RUNNING
        self.confined = record.confined
        return True

    def record(self) -> ServiceRecord:
        return ServiceRecord(
            name=self.service.name,
            state=self.state.value,
            pid=self.who.pid if self.who else None,
            starttime=self.who.starttime if self.who else None,
            since=round(self.since, 3),
            started=round(time.time() - self.lived, 3) if self.who else None,
            restarts=self.restarts,
            steps=self.backoff.steps,
            digest=self.service.digest,
            last_exit=self.last_exit,
            confined=self.confined,
        )

    def became_ready(self) -> None:
        self.was_ready = True
        self.move(State.RUNNING)
        self.confined = self.who is not None and self.service.confine and children.is_confined(self.who.pid)


class Asking:
    """One question to a service before it is stopped, without waiting for the answer.

    The warden is asked {"do": "stop-all"} so that it ends people's servers; one line of JSON each way.
    """

    def __init__(self, path: str, question: dict[str, object], timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self.answer = b""
        self.done = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(1.0)
            self._socket.connect(path)
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            self._socket.setblocking(False)
        except OSError as error:
            self.answer = str(error).encode()
            self.done = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> None:
        """Take what has arrived; `done` is then true when the answer is whole or nobody will answer."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.answer += data
        self.done = not data or b"\n" in self.answer

    @property
    def granted(self) -> bool:
        with contextlib.suppress(ValueError, AttributeError):
            return json.loads(self.answer).get("ok") is True
        return False

    def close(self) -> None:
        self._socket.close()
