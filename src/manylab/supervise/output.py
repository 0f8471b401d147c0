"""Lines for whoever looks on: a terminal in the foreground, supervisor.log otherwise."""

from __future__ import annotations

import contextlib
import sys
import time


class Output:
    """Prints a line at a time and does not mind when nobody reads any more (the terminal was closed)."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps

    def say(self, text: str) -> None:
        prefix = time.strftime("%Y-%m-%d %H:%M:%S ") if self._timestamps else ""
        with contextlib.suppress(OSError, ValueError):
            print(f"{prefix}{text}", file=sys.stdout, flush=True)
