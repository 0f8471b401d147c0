"""A control group of its own for each machine, in every hierarchy of the host (v1, hybrid or v2).

Without one, systemd inside accepts MemoryMax and ignores it. It is also how we find every process of a
machine again. On v1 the group is made below our own, since a container's root group often cannot be limited;
on pure v2 it is made at the top, because a group that contains processes (ours does) cannot pass controllers
on to its children.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import owners

PREFIX = "manylab-test-"


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy. `inside` is its folder's name under /sys/fs/cgroup ("" for v2 mounted there
    itself).
    """

    inside: str
    kind: str  # cgroup or cgroup2, the type of file system to mount
    options: str
    parent: Path

    @property
    def is_pure_v2(self) -> bool:
        return self.inside == ""

    def line(self) -> str:
        """As boot.sh reads it."""
        return f"{self.inside or '.'} {self.kind} {self.options or 'rw'}"


def hierarchies() -> list[Hierarchy]:
    """Every hierarchy of /proc/self/cgroup that is mounted where we can see it."""
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            mounts.append((kind, set(options.split(",")), Path(before.split()[4])))
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        wanted = set(controllers.split(",")) - {""}
        for kind, given, point in mounts:
            if (kind == "cgroup2") != (not wanted) or not wanted <= given:
                continue
            inside = "" if point == Path("/sys/fs/cgroup") else point.name
            named = "none," if controllers.startswith("name=") else ""
            parent = point if inside == "" else point / own.lstrip("/")
            found.append(Hierarchy(inside, kind, named + controllers, parent))
            break
    return found


class Group:
    """The groups of one machine, one per hierarchy, all of the same name."""

    def __init__(self, name: str) -> None:
        self._hierarchies = hierarchies()
        self._name = PREFIX + name

    def create(self) -> None:
        """Raises OSError where the host does not let us."""
        for one in self._hierarchies:
            folder = one.parent / self._name
            folder.mkdir(exist_ok=True)
            if one.kind == "cgroup" and (folder / "cpuset.cpus").exists():  # while empty, nobody can join
                for key in ("cpuset.cpus", "cpuset.mems"):
                    (folder / key).write_text((one.parent / key).read_text())
                (folder / "cgroup.clone_children").write_text("1")
            if one.is_pure_v2:
                for controller in (one.parent / "cgroup.controllers").read_text().split():
                    with contextlib.suppress(OSError):
                        (one.parent / "cgroup.subtree_control").write_text(f"+{controller}")
                (folder / "harness").mkdir(exist_ok=True)

    def folders(self) -> list[Path]:
        """Where they are on the host."""
        return [one.parent / self._name for one in self._hierarchies]

    def lines(self) -> str:
        """What boot.sh mounts inside."""
        return "\n".join(one.line() for one in self._hierarchies)

    def doors(self, *, first: bool = False) -> list[str]:
        """The cgroup.procs files that a process writes itself into; `first` for PID 1, whose group becomes
        the root.

        On pure v2 everybody else goes into a child, or the root could not pass controllers on.
        """
        files = []
        for one in self._hierarchies:
            leaf = "harness" if one.is_pure_v2 and not first else ""
            files.append(str(one.parent / self._name / leaf / "cgroup.procs"))
        return files

    def park(self, pid: int) -> None:
        """Move a process out of the root group, on pure v2."""
        for one in self._hierarchies:
            if one.is_pure_v2:
                (one.parent / self._name / "harness" / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """End what is left in the groups, and delete them."""
        for folder in self.folders():
            remove_tree(folder)


def remove_tree(folder: Path, timeout: float = 10.0) -> None:
    """Kill every process of a group and its children, and remove them; a dying process holds its group for a
    moment.

    Raises OSError when the kernel still refuses after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while folder.exists():
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                pids = (Path(path) / "cgroup.procs").read_text().split()
                owners.kill([int(pid) for pid in pids if pid != "0"])
                Path(path).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                if time.monotonic() > end:
                    raise
        if folder.exists():
            time.sleep(0.02)


def abandoned() -> list[Path]:
    """Groups of machines whose owner is gone, as far as they are where ours would be."""
    found = [path for one in hierarchies() for path in one.parent.glob(PREFIX + "*")]
    return [path for path in found if owners.is_abandoned(path.name)]
