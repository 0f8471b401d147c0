"""Other people's processes: arguments, environment, memory. Read from /proc once for all.

Nobody can make these looks last for ever: see base/procfs.py. What cannot be looked at reads as empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from manylab.base import procfs
from manylab.warden.processes import MARKER

# With more processes than this in a server's tree, what they share is not told apart: that costs milliseconds each.
_EXACT = 64
_LARGE = 2.0  # seconds for the memory of one process


def pids() -> Iterator[int]:
    """Every process but this one."""
    yield from (pid for pid in psutil.pids() if pid != os.getpid())


def command_line(pid: int) -> bytes:
    """The arguments of a process, each ended by a zero byte; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environ(pid: int) -> dict[str, str]:
    """What a process was started with; empty when it is gone or may not be read."""
    return environs([pid]).get(pid, {})


def environs(wanted: Iterable[int]) -> dict[int, dict[str, str]]:
    """The same of many processes, by pid, where it can be read."""
    return procfs.first(wanted, _environ)


def _environ(pid: int) -> Iterable[dict[str, str]]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ()
    entries = (entry.decode("utf-8", "replace").partition("=") for entry in raw.split(b"\0") if entry)
    return ({name: value for name, _, value in entries},)


def marked() -> list[int]:
    """Processes that belong to somebody's server, as far as this account may see."""
    return [pid for pid, environment in environs(pids()).items() if MARKER in environment]


def families(parents: Mapping[int, int], roots: list[int]) -> dict[int, set[int]]:
    """Each root with all its descendants. parents: of every process. Pure."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: dict[int, set[int]] = {}
    for root in roots:
        todo, seen = [root], {root}
        while todo:
            new = [pid for pid in children.get(todo.pop(), []) if pid not in seen]
            seen.update(new)
            todo += new
        found[root] = seen
    return found


def memory(roots: list[int]) -> dict[int, int | None]:
    """Bytes that each process uses with all it started; None when it is gone. What processes share is counted once."""
    parents = {pid: int(status["PPid"]) for pid in psutil.pids() if "PPid" in (status := procfs.status(pid))}
    trees = families(parents, [root for root in roots if root in parents])
    exact = sum(map(len, trees.values())) <= _EXACT
    members = {pid for tree in trees.values() for pid in tree}
    used = procfs.each(members, lambda pid: _memory(pid, exact), _LARGE)
    return {root: sum(sum(used.get(pid, ())) for pid in trees[root]) if root in trees else None for root in roots}


def _memory(pid: int, exact: bool) -> Iterable[int]:
    try:
        process = psutil.Process(pid)
        return (int(process.memory_full_info().pss if exact else process.memory_info().rss),)
    except psutil.Error:
        return ()


def uid(pid: int) -> int | None:
    """Whose process it is; None when it is gone."""
    return procfs.real_uid(pid)
