"""Commands inside a machine: finished ones (Completed), running ones (Running), and their terminals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import owners
from .errors import CommandFailed, TimedOut
from .polling import wait_until

# <asm-generic/ioctls.h>; Python's termios does not have both in every version.
_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431
_TTY_GROUP = 5  # Debian's fixed gid of group tty


@dataclass(frozen=True)
class Completed:
    """A command that has ended. A negative return code is the signal that ended it. With a terminal all is in
    stdout.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    def check(self) -> Completed:
        """Raises CommandFailed with all output, when the return code is not 0."""
        if self.returncode:
            raise CommandFailed(f"{self.argv} ended with {self.returncode}\n{self.stdout}{self.stderr}")
        return self


class Terminal:
    """A pseudo-terminal of the machine's own /dev/pts, so that `tty` and /dev/tty work inside; 24 lines of
    80.
    """

    def __init__(self, ptmx: Path, owner: int, log: BinaryIO) -> None:
        self.master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(self.master, _TIOCSPTLCK, struct.pack("i", 0))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        # Opened through the master: its path is in another mount namespace.
        self.peer = fcntl.ioctl(self.master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(self.peer, owner, _TTY_GROUP)
        self._log = log
        self._wake_read, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        # A read that is under way would keep the terminal open after close(), so we poll and close it here.
        while True:
            ready, _, _ = select.select([self.master, self._wake_read], [], [])
            if self._wake_read in ready:
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the other side open any more
                break
            self._log.write(data)
            self._log.flush()
        os.close(self.master)
        self.master = -1  # a later write fails, instead of reaching another file
        self._log.close()

    def write(self, text: str) -> None:
        os.write(self.master, text.encode())

    def drain(self) -> None:
        """Wait until all that was printed is in the log: at most 2 s, since a daemon may keep the terminal
        open.
        """
        self._thread.join(2)

    def close(self) -> None:
        """Hang up."""
        if self._wake >= 0:
            os.close(self._wake)  # its other end becomes readable
            self._wake = -1
            self._thread.join(10)
            os.close(self._wake_read)


class Running:
    """A command that is running in a machine. A context manager: at its end the command is killed if it still
    runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        entered: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        terminal: tuple[Path, int] | None = None,
        stdin: BinaryIO | int = subprocess.DEVNULL,
        errors: BinaryIO | int = subprocess.STDOUT,
    ) -> None:
        """For Machine.popen and Machine.run. `terminal`: the machine's /dev/pts/ptmx and the uid that will
        own it.
        """
        self.argv = tuple(argv)
        self.log = log
        self.terminal: Terminal | None = None
        with log.open("ab", buffering=0) as file:
            out: BinaryIO | int = file
            if terminal:
                self.terminal = Terminal(*terminal, log.open("ab"))
                out = stdin = self.terminal.peer
                errors = subprocess.STDOUT
            # A session of its own: Ctrl-C in the terminal of pytest is not for the machine.
            self._process = subprocess.Popen(
                entered, stdin=stdin, stdout=out, stderr=errors, env=env, start_new_session=True, cwd="/"
            )
        if self.terminal:
            os.close(self.terminal.peer)

    def output(self) -> str:
        """All that it has printed until now, stdout and stderr together."""
        return self.log.read_text(errors="replace")

    def wait_for_output(self, pattern: str, timeout: float = 60.0) -> re.Match[str]:
        """Wait until the output matches (re.search, multi-line). Raises TimedOut, or CommandFailed when it
        ends without.
        """

        def look() -> re.Match[str] | None:
            ended = self._process.poll() is not None
            if ended and self.terminal:
                self.terminal.drain()
            match = re.search(pattern, self.output(), re.MULTILINE)
            if ended and not match:
                raise CommandFailed(
                    f"{self.argv} ended ({self._process.returncode}) without {pattern!r}:\n{self.output()}"
                )
            return match

        what = f"{pattern!r} in the output of {self.argv}"
        found = wait_until(look, timeout, lambda: f"{what}:\n{self.output()}")
        assert found is not None
        return found

    def send(self, text: str) -> None:
        """Type into the terminal: a Ctrl-C is \\x03, a Ctrl-D \\x04."""
        assert self.terminal is not None, "started without tty=True"
        self.terminal.write(text)

    def hang_up(self) -> None:
        """Close the terminal, as a lost ssh connection does: SIGHUP to what runs in it."""
        assert self.terminal is not None, "started without tty=True"
        self.terminal.close()

    def signal(self, number: int) -> None:
        """Send a signal to the command itself (not to what it started)."""
        # First is nsenter, which waits outside; its child is the command.
        below = owners.descendants(self._process.pid)[1:2]
        for pid in below:
            os.kill(pid, number)

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float = 60.0) -> int:
        """Its return code. Raises TimedOut, and leaves it running."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"{self.argv} still runs after {timeout:g} s:\n{self.output()}") from None
        if self.terminal:
            self.terminal.drain()
        return code

    def kill(self) -> None:
        """SIGKILL to the command and to all its descendants that have not become daemons."""
        end = time.monotonic() + 10
        while (pids := owners.descendants(self._process.pid)) and time.monotonic() < end:
            owners.kill(pids[1:] or pids)  # nsenter last, by itself: it passes the status on
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        self._process.wait(10)

    def close(self) -> None:
        """Kill it if it still runs, and give the terminal back."""
        if self._process.poll() is None:
            self.kill()
        if self.terminal:
            self.terminal.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()
