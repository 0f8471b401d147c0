"""The files of control groups: limits written into a folder, and which limits can be set here. Blocks, needs root."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from manylab.base.hierarchies import Hierarchy
from manylab.base.limits import Limits
from manylab.warden import hierarchies

NAME: Final = "manylab"  # the folder below which every server has its own
_CONTROLLERS: Final = {"memory": "memory", "cpu": "cpu", "pids": "tasks"}  # the kernel's words, and ours
_PROBE: Final = 0.01, 100  # cores and tasks: a container may have little itself, and a child cannot be given more
_ONE_AT_A_TIME: Final = threading.Lock()
_PERIOD: Final = 100_000  # microseconds; the kernel's own default


@dataclass(frozen=True)
class Base:
    """Where the folders of all servers are in one tree. limits: which of ours it holds."""

    version: int
    folder: Path
    limits: frozenset[str]


def limit(folder: Path, base: Base, limits: Limits, *, lift: bool = False) -> None:
    """Write limits into a folder; lift: also write that there is none, over what was there. Raises OSError."""
    second = base.version == 2
    if "memory" in base.limits:
        if not second:  # else what a cgroup's children use would not count; read-only and always so on new kernels
            with contextlib.suppress(OSError):
                hierarchies.write(folder / "memory.use_hierarchy", "1")
        name = "memory.max" if second else "memory.limit_in_bytes"
        _write(folder / name, limits.memory, "max" if second else "-1", lift)
    if "cpu" in base.limits:
        quota = None if limits.cpu is None else max(1000, round(limits.cpu * _PERIOD))  # 1000: the kernel's least
        if second:
            _write(folder / "cpu.max", None if quota is None else f"{quota} {_PERIOD}", f"max {_PERIOD}", lift)
        else:
            try:
                _write(folder / "cpu.cfs_quota_us", quota, "-1", lift)
            except OSError as error:
                if error.errno != errno.EINVAL:  # more than what is above has: that is the limit, then
                    raise
    if "tasks" in base.limits:
        _write(folder / "pids.max", limits.tasks, "max", lift)


def weigh(folder: Path, base: Base, weight: int | None) -> None:
    """The share of processors beside others, who have 100. Raises OSError."""
    if "cpu" in base.limits and weight is not None:
        if base.version == 2:
            hierarchies.write(folder / "cpu.weight", str(weight))
        else:
            hierarchies.write(folder / "cpu.shares", str(max(2, weight * 1024 // 100)))


def _write(file: Path, value: object, unlimited: str, lift: bool) -> None:
    if value is not None or lift:
        hierarchies.write(file, unlimited if value is None else str(value))


def most_tasks(folder: Path = Path("/proc/sys/kernel")) -> int | None:
    """Four fifths of the processes and threads that the machine can have; None when it does not say."""
    found = []
    for name in ("pid_max", "threads-max"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int((folder / name).read_text()))
    return min(found) * 4 // 5 if found else None


def held(folders: Iterable[Path], limits: Limits) -> frozenset[str]:
    """Which of these limits the kernel has noted for a process in these folders (of either version)."""
    wanted = {
        "memory.max": ("memory", str(limits.memory)),
        "memory.limit_in_bytes": ("memory", str(limits.memory)),
        "cpu.max": ("cpu", f"{round((limits.cpu or 0) * _PERIOD)} {_PERIOD}"),
        "cpu.cfs_quota_us": ("cpu", str(round((limits.cpu or 0) * _PERIOD))),
        "pids.max": ("tasks", str(limits.tasks)),
    }
    found = set()
    for folder in folders:
        for name, (ours, text) in wanted.items():
            with contextlib.suppress(OSError):
                if (folder / name).read_text().strip() == text:
                    found.add(ours)
    return frozenset(found)


def ground() -> Mapping[str, Base]:
    """Where each limit ("memory", "cpu", "tasks") can be set, as far as it really can: in containers control groups
    are often there to be read only. Made if needed, tried once, remembered.
    """
    with _ONE_AT_A_TIME:
        return _ground()


def forget() -> None:
    """Try anew the next time."""
    _ground.cache_clear()


@functools.cache
def _ground() -> Mapping[str, Base]:
    return MappingProxyType(prepare(hierarchies.mounted()))


def look() -> frozenset[str]:
    """Which limits can be set here, leaving nothing behind: for somebody other than the warden."""
    trees = hierarchies.mounted()
    there = [tree.point / NAME for tree in trees if (tree.point / NAME).exists()]
    found = prepare(trees)
    for base in found.values():
        if base.folder not in there:
            with contextlib.suppress(OSError):
                base.folder.rmdir()
    return frozenset(found)


def prepare(mounted: Iterable[Hierarchy]) -> dict[str, Base]:
    """`ground` for these trees."""
    found: dict[str, Base] = {}
    for tree in mounted:
        base = tree.point / NAME
        controllers = set(_CONTROLLERS) & (tree.names if tree.version == 1 else _available(tree.point))
        wanted = {_CONTROLLERS[name] for name in controllers} - set(found)
        if not wanted:
            continue
        try:
            base.mkdir(mode=0o755, exist_ok=True)
            if tree.version == 2:
                for folder in (tree.point, base):
                    _pass_on(folder, controllers)
            works = _try(base, tree.version, wanted)
        except OSError:
            works = frozenset()
        if works:
            found |= dict.fromkeys(works, Base(tree.version, base, works))
        else:
            with contextlib.suppress(OSError):
                base.rmdir()
    return found


def _available(point: Path) -> set[str]:
    try:
        return set((point / "cgroup.controllers").read_text().split())
    except OSError:
        return set()


def _pass_on(folder: Path, controllers: Iterable[str]) -> None:
    """Let the children of a folder have these controllers, as far as the kernel agrees.

    One by one, since one refused refuses all. It refuses with EBUSY in a container whose top group has processes of its
    own in it ("no internal processes", cgroups(7)); they are not ours to move.
    """
    for name in controllers:
        with contextlib.suppress(OSError):
            hierarchies.write(folder / "cgroup.subtree_control", f"+{name}")


def _try(base: Path, version: int, wanted: set[str]) -> frozenset[str]:
    """Which limits a folder below takes."""
    probe = base / f"probe-{os.getpid()}"
    limits = Limits(1 << 30, *_PROBE)
    with contextlib.suppress(FileExistsError):
        probe.mkdir()
    try:
        for ours in wanted:
            with contextlib.suppress(OSError):
                limit(probe, Base(version, base, frozenset({ours})), limits)
        return held([probe], limits) & wanted
    finally:
        probe.rmdir()
