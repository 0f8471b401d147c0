"""A server's cage: the control group, with its limits, in which everything runs that the server starts.

A process that already exists (a child that waits for its order) is put into it; what it starts later is born there.
Where systemd runs, a cage is a transient scope. Elsewhere it is a folder `manylab/NAME-SERVER-MARK` in each tree of
control groups that carries one of the controllers (memory, cpu, pids), version 1 or 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from manylab.base.limits import Limits
from manylab.warden import cgroup_files, hierarchies, processes, systemd
from manylab.warm import identity

__all__ = [
    "Cage", "detect", "find", "join", "kill", "limited", "members", "put", "remove", "set_total",
]  # fmt: skip

log = logging.getLogger("manylab.warden")

SCOPE: Final = re.compile(r"manylab-server-([A-Za-z0-9_.-]{1,120})\.scope")
_UNITS: Final = Path("/etc/systemd/system")
_INFINITY: Final = (1 << 64) - 1  # systemd's word for no limit
_TIDY: Final = 10.0  # seconds for the last processes of a cage to be gone
# Threads of their own: moving a process waits for the kernel (10 ms and more on some), and systemd takes its time.
_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="cgroups")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Cage:
    """One server's place. kind: "systemd", "v2", "v1" or "none". scope: its unit. paths: its folders."""

    kind: str
    scope: str | None = None
    paths: tuple[str, ...] = ()


def find(data: Mapping[str, Any]) -> Cage:
    """The cage with these fields, as they were written down; raises ValueError for anything else."""
    kind, scope, paths = data.get("kind"), data.get("scope"), data.get("paths")
    if kind not in ("systemd", "v2", "v1", "none") or not isinstance(paths, (list, tuple)):
        raise ValueError("not a cage")
    if scope is not None and (not isinstance(scope, str) or SCOPE.fullmatch(scope) is None):
        raise ValueError("not a scope")
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
            raise ValueError("not a folder")
    return Cage(kind, scope, tuple(paths))


def detect(scopes: str | None) -> str:
    """What this machine offers. scopes: "systemd" where the settings say that servers are scopes of it. Blocks."""
    if scopes == "systemd":
        return "systemd"
    ground = cgroup_files.ground()
    if not ground:
        return "none"
    return "v2" if all(base.version == 2 for base in ground.values()) else "v1"


def limited(kind: str) -> frozenset[str]:
    """Which of "memory", "cpu" and "tasks" are really held here, found out by trying. Blocks (systemd: some 10 ms)."""
    if kind in ("v1", "v2"):
        return frozenset(cgroup_files.ground())
    return _limited_by_systemd() if kind == "systemd" else frozenset()


async def put(kind: str, *, scope: str, slice_: str | None, description: str, pid: int, limits: Limits) -> Cage:
    """Make a cage with these limits and move a process into it. scope: the unit's name. Raises OSError."""
    if SCOPE.fullmatch(scope) is None:
        raise OSError(errno.EINVAL, "not the name of a server's scope", scope)
    hierarchies.end_early(pid, identity.SERVER_OOM_SCORE)
    if kind == "systemd":
        return await _run(_put_scope, scope, slice_, description, pid, limits)
    if kind == "none":
        return Cage("none")
    return await _run(_put_folders, kind, scope, pid, limits)


def join(main_pid: int, pid: int) -> None:
    """Put a kernel where its server's main process is, and have it ended before the server. Blocks; raises OSError."""
    hierarchies.end_early(pid, identity.KERNEL_OOM_SCORE)
    hierarchies.join(main_pid, pid)


def members(cage: Cage) -> set[int]:
    """The processes that are in it now."""
    found: set[int] = set()
    for path in cage.paths:
        with contextlib.suppress(OSError):
            found |= {int(word) for word in Path(path, "cgroup.procs").read_text().split()}
    return found - {0}  # as processes outside of our own pid namespace read


def kill(cage: Cage) -> None:
    """SIGKILL for all that is in it now, and no more forks: a bomb that goes off cannot outrun this."""
    for path in map(Path, cage.paths):
        with contextlib.suppress(OSError):
            hierarchies.write(path / "cgroup.kill", "1")
            return
        with contextlib.suppress(OSError):
            hierarchies.write(path / "pids.max", "0")
    for pid in members(cage):
        seen = processes.see(pid)
        # The number was read before: look again whether it still means a process of this cage.
        if seen is not None and pid in members(cage):
            processes.send(seen.process, signal.SIGKILL)


async def remove(cage: Cage) -> None:
    """Take the cage away when all in it has ended; what systemd finds in its scope, it ends. Never raises OSError."""
    if cage.scope is not None:
        with contextlib.suppress(OSError):
            await _run(systemd.stop, cage.scope)
        return
    until = time.monotonic() + _TIDY
    for path in cage.paths:
        while not _gone(path):
            if time.monotonic() > until:
                log.warning("%s cannot be removed: processes in it do not end", path)
                break
            await asyncio.sleep(0.02)


def set_total(kind: str, limits: Limits, weight: int | None = None, *, slice_: str | None = None) -> None:
    """What all servers together may use; to be called again when that changes. Blocks; logs what cannot be set.

    weight: their share of processors beside the rest of the machine's 100. limits.tasks None: most of what the machine
    can have. slice_: under systemd; nothing is done where its unit is installed, for that says the same.
    """
    limits = replace(limits, tasks=limits.tasks or cgroup_files.most_tasks())
    try:
        if kind in ("v1", "v2"):
            for base in set(cgroup_files.ground().values()):
                cgroup_files.limit(base.folder, base, limits, lift=True)
                cgroup_files.weigh(base.folder, base, weight)
        elif kind == "systemd" and slice_ is not None and not (_UNITS / slice_).exists():
            systemd.set_properties(slice_, _as_properties(limits))
            outer = slice_.rpartition("-")[0]
            if outer and weight is not None:
                systemd.set_properties(f"{outer}.slice", [("CPUWeight", "t", weight)])
    except OSError as error:
        log.warning("the limit of all servers together cannot be set: %s", error)


async def _run(work: Callable[..., _T], *about: object) -> _T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, functools.partial(work, *about))


def _put_folders(kind: str, scope: str, pid: int, limits: Limits) -> Cage:
    found = SCOPE.fullmatch(scope)
    assert found is not None
    made: list[Path] = []
    try:
        bases = set(cgroup_files.ground().values())
        for base in sorted(bases, key=lambda one: one.folder):
            folder = base.folder / found[1]
            try:
                folder.mkdir()
            except FileNotFoundError:  # somebody took `manylab` itself away
                cgroup_files.forget()
                cgroup_files.ground()
                folder.mkdir()
            made.append(folder)
            cgroup_files.limit(folder, base, limits)
            hierarchies.write(folder / "cgroup.procs", str(pid))
    except OSError:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return Cage(kind, None, tuple(map(str, made)))


def _gone(path: str) -> bool:
    try:
        Path(path).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


_OOM_POLICY: Final[list[systemd.Property]] = [("OOMPolicy", "s", "continue")]


def _put_scope(scope: str, slice_: str | None, description: str, pid: int, limits: Limits) -> Cage:
    properties: list[systemd.Property] = [
        ("Description", "s", description),
        ("PIDs", "au", [pid]),
        ("CollectMode", "s", "inactive-or-failed"),
        ("TimeoutStopUSec", "t", 5_000_000),
        *([("Slice", "s", slice_)] if slice_ is not None else []),
        # No limit is said, too: else systemd has one of its own for tasks (DefaultTasksMax).
        *_as_properties(limits),
    ]
    try:
        # A kernel that used up the memory is ended; without this the whole server would be, with every other notebook.
        systemd.start_scope(scope, [*properties, *_OOM_POLICY])
    except systemd.Refused as refused:
        if "OOMPolicy" not in str(refused):
            raise
        _OOM_POLICY.clear()  # systemd before 253, except where a distribution brought it back
        systemd.start_scope(scope, properties)
    paths = tuple(str(folder) for folder in hierarchies.of(pid) if folder.name == scope)
    if not paths:
        raise OSError(errno.ESRCH, "the process did not get into its scope", scope)
    return Cage("systemd", scope, paths)


def _as_properties(limits: Limits) -> list[systemd.Property]:
    values = {
        "MemoryMax": limits.memory,
        "CPUQuotaPerSecUSec": None if limits.cpu is None else round(limits.cpu * 1_000_000),
        "TasksMax": limits.tasks,
    }
    return [(name, "t", _INFINITY if value is None else value) for name, value in values.items()]


def _limited_by_systemd() -> frozenset[str]:
    """systemd takes every limit and says nothing when the kernel has no such controller: so look what it wrote."""
    scope = f"manylab-server-probe-{os.getpid()}-{time.monotonic_ns():x}.scope"
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
    try:
        cage = _put_scope(scope, None, "manylab: which limits hold?", child.pid, Limits(1 << 30, 1.0, 100))
        return cgroup_files.held(map(Path, cage.paths), Limits(1 << 30, 1.0, 100))
    except OSError as error:
        log.warning("which limits systemd holds cannot be found out: %s", error)
        return frozenset()
    finally:
        child.kill()
        child.wait()
