"""Control groups, as the kernel describes them in /proc: where they are mounted, which folder a process is in. Pure.

They come as version 1 (one tree of folders for each controller), as version 2 (one tree for all) and as both at once.
cgroups(7), proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree. version: 1 or 2. names: its controllers and "name=..." (version 1 only).

    root: which folder of the tree is mounted at `point`; not "/" in some containers.
    """

    version: int
    names: frozenset[str]
    point: Path
    root: str

    def folder(self, inside: str) -> Path | None:
        """The folder of a path from /proc/PID/cgroup; None when it is not below what is mounted here."""
        root = "" if self.root == "/" else self.root
        if ".." in inside.split("/") or not (inside + "/").startswith(root + "/"):
            return None
        return self.point / inside[len(root) :].strip("/")


def parse(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The trees of a /proc/PID/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = (_OCTAL.sub(lambda code: chr(int(code[1], 8)), text) for text in fields[3:5])
        names = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset[str]()
        found.append(Hierarchy(1 if kind[0] == "cgroup" else 2, names, Path(point), root))
    return tuple(found)


def places(text: str, mounted: Iterable[Hierarchy]) -> tuple[Path, ...]:
    """The folders that a /proc/PID/cgroup speaks of, as far as they are mounted."""
    trees, found = tuple(mounted), []
    for line in text.splitlines():
        _, controllers, inside = line.split(":", 2)
        wanted = frozenset(controllers.split(",")) - {""}
        for tree in trees:
            fits = wanted <= tree.names if wanted else tree.version == 2
            if fits and (folder := tree.folder(inside)) is not None:
                found.append(folder)
                break
    return tuple(found)
