"""Why a kernel was killed: did memory run out, and whose? What the kernel of the machine counts, and what follows.

Everything is read from files that every process may read: those of our own control group (which holds the server and
all that it started), of those above it, and /proc/vmstat where there are none.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manylab.base import hierarchies

# More than any machine has: version 1's way to say that there is no limit.
_UNLIMITED = 1 << 60
# How a kernel that was killed says so: subprocess's way, and a shell's in between.
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)

Cause = Literal["server", "machine"]


@dataclass(frozen=True)
class Reading:
    """Counters at one moment. kills: processes of ours that were ended for memory. ours, others: how often an
    allocation failed at the limit of this server, and at one above it.
    """

    kills: int = 0
    ours: int = 0
    others: int = 0


@dataclass(frozen=True)
class Ending:
    """Why a kernel ended, and when (seconds since 1970). limit, used: of the server with all its kernels, in bytes."""

    cause: Cause
    limit: int | None
    used: int | None
    when: float


@dataclass(frozen=True)
class Meter:
    """Where the counters are. folders: our own control group and those above it, nearest first."""

    folders: tuple[Path, ...] = ()
    vmstat: Path = Path("/proc/vmstat")

    @property
    def caged(self) -> bool:
        """Whether the nearest group is this server's own, so that its limit is ours."""
        own = self.folders[0] if self.folders else Path()
        return own.parent.name == "manylab" or own.name.startswith("manylab-server-")

    def read(self) -> Reading:
        """The counters now."""
        if not self.folders:
            return Reading(kills=_fields(self.vmstat).get("oom_kill", 0))
        own = self.folders[0]
        kills = _fields(own / "memory.events") or _fields(own / "memory.oom_control")
        failed = [_failed(folder) for folder in self.folders]
        if not self.caged:
            return Reading(kills.get("oom_kill", 0), 0, sum(failed))
        return Reading(kills.get("oom_kill", 0), failed[0], sum(failed[1:]))

    def limit(self) -> int | None:
        """Bytes that this server with all its kernels may use; None without a limit."""
        if not self.caged:
            return None
        found = _number(self.folders[0] / "memory.max", self.folders[0] / "memory.limit_in_bytes")
        return found if found is not None and found < _UNLIMITED else None

    def working_set(self) -> int | None:
        """What is used now, without the parts of files that would be given back first, bytes."""
        if not self.caged:
            return None
        own = self.folders[0]
        now = _number(own / "memory.current", own / "memory.usage_in_bytes")
        stat = _fields(own / "memory.stat")
        return None if now is None else max(0, now - stat.get("total_inactive_file", stat.get("inactive_file", 0)))

    def used(self) -> int | None:
        """The most that this server with all its kernels has used so far, bytes."""
        if not self.caged:
            return None
        own = self.folders[0]
        return _number(own / "memory.peak", own / "memory.max_usage_in_bytes", own / "memory.current")


def meter(pid: int | None = None) -> Meter:
    """That of a process, or of this one."""
    try:
        mounted = hierarchies.parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
        text = Path(f"/proc/{pid or 'self'}/cgroup").read_text(errors="surrogateescape")
    except OSError:
        return Meter()
    trees = [tree for tree in mounted if tree.version == 2 or "memory" in tree.names]
    # Version 1's tree of memory first: where both are mounted, it has the controller, or version 2 has.
    for tree in sorted(trees, key=lambda one: one.version):
        for folder in hierarchies.places(text, [tree]):
            if (folder / "memory.max").exists() or (folder / "memory.limit_in_bytes").exists():
                above = [parent for parent in folder.parents if parent.is_relative_to(tree.point)]
                return Meter((folder, *above))
    return Meter()


def cause(before: Reading, now: Reading, status: int | None, *, caged: bool) -> Cause | None:
    """Why a kernel ended: for the memory of its server, of the machine, or neither. status: how it ended, None when
    nobody knows. Pure.
    """
    if (status is not None and status not in _KILLED) or now.kills <= before.kills:
        return None
    return "server" if caged and now.ours > before.ours else "machine"


def _failed(folder: Path) -> int:
    """How often the limit of exactly this group stood in the way."""
    # Not memory.events, which counts what happened further down as well.
    local = _fields(folder / "memory.events.local") or _fields(folder / "memory.events")
    return local.get("oom", 0) or _number(folder / "memory.failcnt") or 0


def _fields(file: Path) -> Mapping[str, int]:
    """Lines of a name and a number; {} when there is no such file."""
    try:
        words = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return {}
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def _number(*files: Path) -> int | None:
    """The number in the first of these files that is there; None for "max"."""
    for file in files:
        try:
            text = file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        return int(text) if text.isdigit() else None
    return None
