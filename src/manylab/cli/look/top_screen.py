"""`top` as people see it: one table, and on a terminal a live one that follows keys."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manylab.cli.look.follow import printable
from manylab.cli.look.status import duration
from manylab.cli.look.top_sample import Part, Row, Sample, Use
from manylab.cli.result import plural

COLUMNS = ("USER", "SERVER", "KERNELS", "TERM", "OWN", "SHARED", "LIMIT", "CPU%", "TASKS", "FOR")
_LEFT = ("USER", "SERVER")
_SORTS: dict[str, tuple[str, Callable[[Row], object]]] = {
    "m": ("memory", lambda row: (-(row.use.own or 0), row.user, row.server)),
    "p": ("cpu", lambda row: (-(row.use.cpu or 0.0), -(row.use.own or 0), row.user, row.server)),
    "t": ("tasks", lambda row: (-row.use.tasks, row.user, row.server)),
    "u": ("user", lambda row: (row.user, row.server)),
}
SORTS = {name: key for key, (name, _) in _SORTS.items()}
_HELP = "M memory  P cpu  T tasks  U user  K parts  up/down scroll  Q end"
# How much of the time may go into reading memory, which costs milliseconds for each process: with hundreds of servers
# the figures of a look are up to a minute old.
_BUDGET = 0.125
_FIRST = 1.0  # seconds; whoever starts it wants to see something
_UP, _DOWN, _PAGE_UP, _PAGE_DOWN = "\x1b[A", "\x1b[B", "\x1b[5~", "\x1b[6~"


@dataclass(frozen=True)
class View:
    """sort: a key of SORTS' values. parts: a line for each kernel and terminal too. first: the topmost line shown."""

    sort: str = "m"
    parts: bool = True
    first: int = 0


def size(amount: int | None) -> str:
    """Like "512K", "34M", "1.2G", at most five characters; "-" when it is not known. Pure."""
    if amount is None:
        return "-"
    if amount < 1 << 20:
        return f"{amount >> 10}K"
    if amount < 1000 << 20:
        return f"{amount / (1 << 20):.0f}M"
    return f"{amount / (1 << 30):.1f}G"


def ordered(rows: Sequence[Row], sort: str) -> list[Row]:
    """Pure."""
    return sorted(rows, key=_SORTS[sort][1])  # type: ignore[arg-type]


def lines(sample: Sample, view: View) -> list[tuple[str, ...]]:
    """The table's rows as text, in order. Pure."""
    found: list[tuple[str, ...]] = []
    for row in ordered(sample.rows, view.sort):
        limit = size(row.limit) if row.limit is not None else ""
        counts = (str(row.kernels), str(row.terminals))
        found.append(
            (row.user, row.server or "(default)", *counts, *_use(row.use, limit), duration(sample.when - row.since))
        )
        if view.parts:
            found += [_part(part, sample.when) for part in row.parts if part.kind != "server"]
    return [tuple(map(printable, cells)) for cells in found]


def _part(part: Part, now: float) -> tuple[str, ...]:
    name = part.name[:8] if part.kind == "kernel" else part.name[:20]
    return "", f"  {part.kind} {name}", "", "", *_use(part.use, ""), duration(now - part.since)


def _use(use: Use, limit: str) -> tuple[str, ...]:
    cpu = "-" if use.cpu is None else f"{use.cpu:.0f}"
    return size(use.own), size(use.shared), limit, cpu, str(use.tasks)


def head(sample: Sample) -> list[str]:
    """The lines above the table. Pure."""
    data, machine = sample.as_json()["total"], sample.machine
    own, shared = size(data["own"]), size(data["shared"])
    cpu = "-" if data["cpu"] is None else f"{data['cpu']:.0f}%"
    return [
        f"{plural(data['people'], 'person', 'people')}, {plural(data['servers'], 'server')}, "
        f"{plural(data['kernels'], 'kernel')}, {plural(data['terminals'], 'terminal')}",
        f"memory {own} their own + {shared} shared; machine {size(machine['memory'])}, "
        f"{size(machine['available'])} available; cpu {cpu} of {machine['processors'] * 100}%",
    ]


def as_text(sample: Sample, view: View) -> str:
    """One table, for a file, a pipe or `--once`. Pure."""
    rows = [COLUMNS, *lines(sample, view)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    table = [
        "  ".join(
            cell.ljust(width) if name in _LEFT else cell.rjust(width)
            for cell, width, name in zip(row, widths, COLUMNS, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*head(sample), "", *table])


def screen(sample: Sample, view: View, height: int) -> Group:
    """What fills a terminal of this height. Pure."""
    rows = lines(sample, view)
    room = max(1, height - 6)
    first = min(view.first, max(0, len(rows) - room))
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold reverse", padding=(0, 1))
    for name in COLUMNS:
        marked = name == {"m": "OWN", "p": "CPU%", "t": "TASKS", "u": "USER"}[view.sort]
        table.add_column(
            f"{name}*" if marked else name,
            justify="left" if name in _LEFT else "right", no_wrap=True, overflow="ellipsis",
            ratio=2 if name == "SERVER" else None,
        )  # fmt: skip
    for cells in rows[first : first + room]:
        # Text, not str: what is in it is never markup.
        table.add_row(*(Text(cell) for cell in cells), style="dim" if not cells[0] else "")
    hidden = len(rows) - room
    more = f"lines {first + 1} to {first + min(room, len(rows))} of {len(rows)}   " if hidden > 0 else ""
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in head(sample)), Text(), table,
                 Text(more + _HELP, style="dim", no_wrap=True, overflow="ellipsis"))  # fmt: skip


def pressed(view: View, key: str, height: int) -> View | None:
    """The view after a key; None when that key ends it. Pure."""
    key = key if key.startswith("\x1b") else key.lower()
    if key in ("q", "\x03", "\x04"):
        return None
    if key in _SORTS:
        return replace(view, sort=key, first=0)
    if key == "k":
        return replace(view, parts=not view.parts, first=0)
    step = {_UP: -1, _DOWN: 1, _PAGE_UP: -(height - 6), _PAGE_DOWN: height - 6}.get(key, 0)
    return replace(view, first=max(0, view.first + step))


def live(look: Callable[[float], Sample], view: View, interval: float) -> None:
    """Until q or Ctrl-C. look: one more look, with a budget in seconds."""
    console = Console()
    with _keys() as wait, contextlib.suppress(KeyboardInterrupt):
        sample = look(_FIRST)
        # The second look comes soon: only then there is something to say about processors.
        due = time.monotonic() + min(interval, 0.5)
        # The alternate screen: what was on the terminal comes back.
        with Live(screen(sample, view, console.height), console=console, screen=True, auto_refresh=False) as shown:
            while True:
                key = wait(max(0.0, due - time.monotonic()))
                after = pressed(view, key, console.height) if key else view
                if after is None:
                    return
                room = len(lines(sample, after)) - max(1, console.height - 6)
                view = replace(after, first=min(after.first, max(0, room)))
                if time.monotonic() >= due:
                    sample = look(interval * _BUDGET)
                    due = time.monotonic() + interval
                shown.update(screen(sample, view, console.height), refresh=True)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key ("" when none came). The terminal is put back afterwards."""
    if not sys.stdin.isatty():

        def rest(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield rest
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def wait(seconds: float) -> str:
        if not select.select([terminal], [], [], seconds)[0]:
            return ""
        # Ctrl-D and a terminal that is gone both end it.
        return os.read(terminal, 16).decode("utf-8", "replace") or "\x04"

    try:
        tty.setcbreak(terminal)
        yield wait
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
