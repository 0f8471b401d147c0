"""What a command returns, and the one place that prints it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from manylab.base.errors import ManylabError


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
        print(json.dumps(result.data, indent=2, ensure_ascii=False, default=str))
    elif result.text:
        print(result.text)


def show_error(error: ManylabError, *, as_json: bool) -> None:
    """Print an error: JSON on standard output, or text with what to do next on standard error."""
    if as_json:
        print(json.dumps({"error": error.as_json()}, indent=2, ensure_ascii=False, default=str))
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]{error.code}[/]: {escape(error.message)}")
    if error.hint:
        console.print(f"  [bold]next:[/] {escape(error.hint)}")


# First words of steps that stay on the screen.
_LASTING = frozenset(
    ("create", "update", "remove", "restart", "restore", "solving", "waiting", "npm:", "manylab:", "difference:")
)


class Progress:
    """Says what is going on: one line that changes on a terminal, plain lines elsewhere.

    quiet: with `--json`, nothing is said on standard output; the lines go to standard error.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._status = self._console.status("") if self._console.is_terminal else None
        self._last = ""

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """One step. Steps that change the machine (`create ...`) stay on the screen; details of an installer pass
        by.
        """
        if not line or line == self._last:
            return
        self._last = line
        lasting = line.split(" ", 1)[0] in _LASTING
        if self._status is None:
            print(f"manylab: {line}" if lasting else f"manylab:   {line}", file=sys.stderr, flush=True)
        elif lasting:
            self._console.print(f"[green]•[/] {escape(line)}")
            self._status.update(escape(line))
        else:
            self._status.update(escape(line))
