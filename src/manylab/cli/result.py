"""What a command returns, and the one place that prints it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console
from rich.markup import escape

from manylab.base.errors import ManylabError
from manylab.base.progress import is_phase


@dataclass(frozen=True)
class Result:
    """The outcome of a command. data: for `--json`. text: for people. status: the exit status."""

    data: Any = field(default_factory=dict)
    text: str = ""
    status: int = 0


def plural(count: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 server", "2 servers"; many: the plural that is not made by an s."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def show(result: Result, *, as_json: bool) -> None:
    """Print a result: one JSON value, or text."""
    if as_json:
        print(_json(result.data))
    elif result.text:
        # Names of files need not be text in any encoding.
        encoding = sys.stdout.encoding or "utf-8"
        print(result.text.encode(encoding, "backslashreplace").decode(encoding))


def show_error(error: ManylabError, *, as_json: bool) -> None:
    """Print an error: JSON on standard output, or text with what to do next on standard error."""
    if as_json:
        print(_json({"error": error.as_json()}))
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]{error.code}[/]: {escape(error.message)}")
    if error.hint:
        console.print(f"  [bold]next:[/] {escape(error.hint)}")


def _json(value: Any) -> str:
    """JSON that this standard output can encode and no terminal obeys."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
        plain = text.replace("\n", "").isprintable()
    except UnicodeEncodeError:
        plain = False
    # DEL is ASCII, so json leaves it.
    return text if plain else json.dumps(value, indent=2, default=str).replace("\x7f", "\\u007f")


# First words of steps that stay on the screen.
_LASTING = frozenset(
    ("create", "update", "remove", "restart", "restore", "solving", "waiting", "npm:", "manylab:", "difference:")
)
# With a log, where the small steps are: only what is not part of a phase.
_LASTING_BESIDE_LOG = frozenset(("restart", "restore", "waiting", "difference:"))
_LARGEST_LOG = 1 << 20  # bytes


class Progress:
    """Says what is going on: a line that changes on a terminal, plain lines elsewhere; on standard error.

    log: every step is written there; phases alone stay on the screen, and elsewhere nothing else is said. disk: a
    folder on the file system that is written to, whose growth is shown on a terminal.
    """

    def __init__(self, log: Path | None = None, disk: Path | None = None) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._status = self._console.status(_Now(disk)) if self._console.is_terminal else None
        self._brief, self._untold, self._file = log is not None, log, None if log is None else _opened(log)
        self._last = ""

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()
        if self._file is not None:
            self._file.close()

    def say(self, line: str) -> None:
        """One step. Phases and changes of the machine (`create ...`) stay on the screen; details pass by."""
        if not line or line == self._last:
            return
        self._last = line
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
                self._file.flush()
        phase = is_phase(line)
        lasting = phase or line.split(" ", 1)[0] in (_LASTING_BESIDE_LOG if self._brief else _LASTING)
        if self._status is not None:
            cast(_Now, self._status.status).detail = line
        if lasting and self._status is not None:
            self._console.print(f"[green]•[/] {escape(line)}")
        elif self._status is None and (lasting or not self._brief):
            print(f"manylab: {line}" if lasting else f"manylab:   {line}", file=sys.stderr, flush=True)
        if phase and self._file is not None and self._untold is not None:
            self._tell_of_log(self._untold)

    def _tell_of_log(self, log: Path) -> None:
        """Once, after the first phase."""
        self._untold, text = None, f"every step is written to {log}"
        if self._status is not None:
            self._console.print(f"  [dim]{escape(text)}[/]")
        else:
            print(f"manylab: {text}", file=sys.stderr, flush=True)


class _Now:
    """The line that changes: the present step, for how long, and how much was written to the disk meanwhile."""

    def __init__(self, disk: Path | None) -> None:
        self._began, self._disk = time.monotonic(), disk
        self._free = self._bytes_free()
        self.detail = ""

    def __rich__(self) -> str:
        written = (self._free - self._bytes_free()) // 1_000_000
        parts = [self.detail[:100], f"{time.monotonic() - self._began:.0f} s"]
        parts += [f"{written} MB written"] if written > 0 else []
        return escape("  ".join(filter(None, parts)))

    def _bytes_free(self) -> int:
        place = next((one for one in (self._disk, *self._disk.parents) if one.exists()), None) if self._disk else None
        if place is None:
            return 0
        found = os.statvfs(place)
        return found.f_bavail * found.f_frsize


def _opened(log: Path) -> TextIO | None:
    """A log to append to, for those who may read the site's others; None where it cannot be written."""
    try:
        log.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        anew = log.exists() and log.stat().st_size > _LARGEST_LOG
        file = log.open("w" if anew else "a", encoding="utf-8")
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} manylab {' '.join(sys.argv[1:3])}\n")
    except OSError:
        return None
    return file
