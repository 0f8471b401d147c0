"""Lines for whoever looks on: a terminal in the foreground, supervisor.log otherwise."""

from __future__ import annotations

import contextlib
import os
import time


class Output:
    """Prints a line at a time and does not mind when nobody reads any more (the terminal was closed)."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps

    def say(self, text: str) -> None:
        prefix = time.strftime("%Y-%m-%d %H:%M:%S ") if self._timestamps else ""
        # Not print(): what a closed terminal refused would stay in Python's buffer, and the last flush at exit would
        # fail and turn a clean end into status 120.
        with contextlib.suppress(OSError):
            os.write(1, f"{prefix}{text}\n".encode(errors="replace"))
