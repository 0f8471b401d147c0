"""Who a leftover belongs to: names carry the pid and the start time of the process that made them."""

from __future__ import annotations

import itertools
import os
import re
import signal
from pathlib import Path

_counter = itertools.count(1)
_NAME = re.compile(r"m-(\d+)-(\d+)-\d+")


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def new_name() -> str:
    """A name for something that this process makes, unique on this host until the next boot."""
    return f"m-{os.getpid()}-{start_time(os.getpid())}-{next(_counter)}"


def is_abandoned(name: str) -> bool:
    """Was the thing of this name (anywhere in the text) made by a process that is gone? Not when it is not
    ours.
    """
    found = _NAME.search(name)
    return found is not None and start_time(int(found[1])) != int(found[2])


def descendants(pid: int) -> list[int]:
    """The process and everything under it, by parent, as the host numbers them; empty when it has ended."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid] if start_time(pid) is not None else []
    for one in found:
        found.extend(children.get(one, ()))
    return found


def kill(pids: list[int]) -> None:
    """SIGKILL each; those that have already gone are fine."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
