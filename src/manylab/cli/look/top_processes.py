"""Processes as `top` needs them: read from /proc in one pass, cheap enough to do it often for hundreds of people."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manylab.base import procfs
from manylab.warden.processes import HUNG, Process

TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_ENDED: Final = b"ZXx"
_LARGE: Final = 2.0  # seconds for the memory of one process


@dataclass(frozen=True)
class Reading:
    """One living process at one moment. cpu: seconds it has used. rss: bytes. tty: 0 when it has no terminal.

    name: what the process calls itself, so anything at all: never shown without `printable`.
    """

    process: Process
    name: str
    parent: int
    session: int
    tty: int
    cpu: float
    threads: int
    rss: int


@dataclass(frozen=True)
class Memory:
    """own: bytes that would be free if the process ended (USS). shared: its part of what several use (PSS - USS).

    Added up over all processes, both together are what is really in use: nothing is counted twice.
    """

    own: int
    shared: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.own + other.own, self.shared + other.shared)


def parse_stat(raw: bytes) -> Reading | None:
    """/proc/PID/stat (proc(5)); None for a process that has ended. Pure.

    The name is in brackets and may hold brackets, spaces and line breaks: what counts is the last bracket.
    """
    opening, closing = raw.index(b"("), raw.rindex(b")")
    fields = raw[closing + 2 :].split()  # fields 3 (state) and on
    if fields[0] in _ENDED and int(fields[17]) < 2:  # else only its first thread has ended
        return None
    return Reading(
        process=Process(int(raw[:opening]), int(fields[19])),
        name=raw[opening + 1 : closing].decode("utf-8", "replace"),
        parent=int(fields[1]),
        session=int(fields[3]),
        tty=int(fields[4]),
        cpu=(int(fields[11]) + int(fields[12])) / TICKS,
        threads=int(fields[17]),
        rss=int(fields[21]) * PAGE,
    )


def amounts(text: str) -> dict[str, int]:
    """ "Name:   123 kB" lines of /proc files, in bytes. Pure."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found


def parse_rollup(text: str) -> Memory:
    """/proc/PID/smaps_rollup. Pure."""
    sizes = amounts(text)
    own = sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0) + sizes.get("Private_Hugetlb", 0)
    return Memory(own, max(0, sizes.get("Pss", 0) - sizes.get("Private_Clean", 0) - sizes.get("Private_Dirty", 0)))


def readings() -> dict[int, Reading]:
    """Every living process that this account may see, by pid."""
    return procfs.first(pids(), _stat, _glance)


def pids() -> Iterator[int]:
    """Every number in /proc."""
    yield from (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 (names, and thousands)


def read(pid: int) -> Reading | None:
    """The process with this number, None when it has ended."""
    return procfs.first([pid], _stat, _glance).get(pid)


def _stat(pid: int) -> Iterable[Reading]:
    try:
        reading = parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    except (OSError, ValueError, IndexError):
        return ()
    return () if reading is None else (reading,)


def _glance(pid: int) -> Reading | None:
    """What nobody can keep from being read (base/procfs.py), of a process that cannot be looked at."""
    seen = procfs.glance(pid)
    if seen is None or seen.state.encode() in _ENDED:
        return None
    return Reading(
        process=Process(pid, HUNG),
        name=f"{seen.name} (cannot be looked at)",
        parent=seen.parent,
        session=seen.session,
        tty=0,
        cpu=0.0,
        threads=seen.threads,
        rss=0,
    )


def memory(pid: int) -> Memory | None:
    """Costs the kernel milliseconds for a large process. None when it is gone or this account may not look."""
    return procfs.first([pid], _rollup, seconds=_LARGE).get(pid)


def _rollup(pid: int) -> Iterable[Memory]:
    try:
        return (parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text()),)
    except (OSError, ValueError):
        return ()


def cgroups(pid: int) -> dict[str, str]:
    """Controllers ("" for version 2's one tree) -> the path of the process's cgroup; empty when it is gone."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            found[controllers] = path
    return found


def mounts(pid: int) -> str:
    """Names the mount namespace of a process; "" when it is gone or this account may not look."""
    return procfs.first([pid], _mounts).get(pid, "")


def _mounts(pid: int) -> Iterable[str]:
    try:
        return (os.readlink(f"/proc/{pid}/ns/mnt"),)  # noqa: PTH115 (a name, no path)
    except OSError:
        return ()


def processors() -> set[int]:
    """Those that this machine (or container) may use."""
    return os.sched_getaffinity(0)
