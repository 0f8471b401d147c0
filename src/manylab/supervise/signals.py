"""Signals as events: the handler does nothing, the number is read from a socket when the loop gets to it."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


def _do_nothing(number: int, frame: object) -> None:
    """Python writes the number to the wakeup socket by itself."""


class SignalQueue:
    """Collects the signals of this process while it exists; `fileno()` is readable when there are some."""

    def __init__(self, *, respect_nohup: bool = False) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before = {number: signal.getsignal(number) for number in HANDLED}
        for number in HANDLED:
            # `nohup manylab up` means: not when the terminal closes.
            if respect_nohup and number == signal.SIGHUP and self._before[number] == signal.SIG_IGN:
                continue
            signal.signal(number, _do_nothing)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        # Whoever started us may have blocked signals, and a mask survives exec (see Inner.take_over).
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def fileno(self) -> int:
        return self._reader.fileno()

    def take(self) -> Iterator[int]:
        """The signals since the last call, in order."""
        with contextlib.suppress(BlockingIOError):
            yield from self._reader.recv(4096)

    def close(self) -> None:
        """Put the former handlers back."""
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()
