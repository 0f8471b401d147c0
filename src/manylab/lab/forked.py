"""The server's side of a warm kernel: asking an environment's nursery for one, and looking after it like a Popen."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from manylab.warm import process, wire

# Seconds for the nursery's answer, on a machine where everybody starts at once; a cold start would take longer still.
_ANSWER: Final = 5.0
# ... after which it is looked whether it can answer at all.
_DOUBT: Final = 1.0
# ... and for the kernel, which is one by then, to listen; it is waited for in any case, only not here.
_LISTEN: Final = 10.0
# Between the end of a kernel and the nursery's word about it.
_WORD: Final = 0.5
_WHOLE_GROUP: Final = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
UNKNOWN: Final = 1  # exit status of a kernel whose nursery is gone, too


class Cold(Exception):
    """There will be no warm kernel; the text says why."""


def ask(path: Path, request: dict[str, Any], descriptors: Sequence[int]) -> ForkedKernel:
    """A kernel from the nursery that listens there. Blocks: call in a thread. Raises Cold.

    descriptors: standard input, output and error of the kernel; the caller closes them.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connection)
        conversation = wire.Conversation(connection)
        try:
            connection.settimeout(_ANSWER)
            connection.connect(str(path))
            conversation.send(request, descriptors, seconds=_ANSWER)
            if not _readable(connection.fileno(), _DOUBT) and _is_stopped(wire.peer_of(connection).pid):
                raise Cold("its nursery is stopped")
            said, _ = conversation.receive(seconds=_ANSWER)
            pid = _pid_in(said)
            kernel = ForkedKernel(pid, connection)
            # Until it hears this the child is no kernel: one that answers too late is not a second one.
            conversation.send({"go": True}, seconds=_ANSWER)
        except FileNotFoundError:
            raise Cold("this environment has no nursery") from None
        except (OSError, wire.Broken) as error:
            raise Cold(f"its nursery does not answer ({error})") from None
        with contextlib.suppress(wire.Broken):
            said, _ = conversation.receive(seconds=_LISTEN)
            if "exit" in said:
                kernel.heard(said)  # it is restarted, like one that ends a moment later
                return kernel
        connection.setblocking(False)
        stack.pop_all()
        return kernel


def _is_stopped(pid: int) -> bool:
    """Whether somebody has stopped that process (SIGSTOP, a debugger)."""
    try:
        return process.status_of(pid).get("State", "")[:1] in ("T", "t")
    except OSError:
        return False


def _pid_in(said: dict[str, Any]) -> int:
    if isinstance(pid := said.get("pid"), int):
        return pid
    raise Cold(str(said.get("cold") or said.get("message") or "its nursery said no"))


class ForkedKernel:
    """A process that is not this one's child, with as much of `subprocess.Popen` as a provisioner uses.

    Signals go by a descriptor of the process, never to another one that got its number later.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection: socket.socket | None = connection
        self._process: int | None = None
        self._said = b""
        self._ended = 0.0
        with contextlib.suppress(ProcessLookupError):
            self._process = os.pidfd_open(pid)

    def heard(self, said: dict[str, Any]) -> None:
        """The nursery's word that it ended, and how."""
        status = said.get("exit")
        self.returncode = status if isinstance(status, int) else UNKNOWN
        self._close()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs. Never blocks."""
        if self.returncode is None and self._gone() and not self._hear():
            # The nursery tells when it has noticed, a moment later.
            self._ended = self._ended or time.monotonic()
            if self._connection is None or time.monotonic() - self._ended > _WORD:
                self.heard({})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Like `poll`, but waits; it is called when the process is gone."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} still runs")
            time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To the process alone; nothing when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)

    def signal_group(self, number: int) -> None:
        """To the process and what it started, as far as that stayed in its group; nothing when it has ended."""
        if self._process is None or self._gone():
            return
        with contextlib.suppress(ProcessLookupError):
            try:
                signal.pidfd_send_signal(self._process, number, None, _WHOLE_GROUP)
            except OSError:  # an older Linux
                os.killpg(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _gone(self) -> bool:
        return self._process is None or _readable(self._process, 0.0)

    def _hear(self) -> bool:
        """Whether the nursery has said how it ended."""
        if self._connection is None:
            return False
        try:
            while data := self._connection.recv(4096):
                self._said += data
            self._connection.close()
            self._connection = None
        except BlockingIOError:
            pass
        except OSError:
            self._connection = None
        for line in self._said.splitlines():
            with contextlib.suppress(ValueError):
                if isinstance(said := json.loads(line), dict) and "exit" in said:
                    self.heard(said)
                    return True
        return False

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            os.close(self._process)
            self._process = None

    def __del__(self) -> None:
        self._close()


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read within so many seconds. Not by select(2): that ends at descriptor 1023."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
