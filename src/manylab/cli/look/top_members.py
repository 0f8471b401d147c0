"""Which processes belong to which server, for `top`: by many marks, since a warm kernel is no child of its server."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manylab.cli.look import processes as looked
from manylab.cli.look import top_processes
from manylab.cli.look.top_processes import Reading
from manylab.warden.processes import MARKER, Process, uids


@dataclass(frozen=True)
class Server:
    """One running server. since: seconds since 1970."""

    user: str
    server: str
    uid: int
    main: Process
    since: float


def from_warden(found: Iterable[Mapping[str, Any]]) -> list[Server]:
    """Servers as the warden lists them, as far as they run and are one account's."""
    return [
        Server(one["user"], one["server"], next(iter(whose)), reading.process, float(one["since"]))
        for one in found
        if (reading := top_processes.read(int(one["pid"]))) is not None and len(whose := uids(int(one["pid"]))) == 1
    ]


@dataclass(frozen=True)
class Marks:
    """What tells that a process of the same account belongs to a server, though it is no descendant of it."""

    mounts: str
    marker: str
    cgroups: Mapping[str, str]

    def fit(self, other: Marks) -> bool:
        """Whether a process with those marks belongs to the server with these. Pure."""
        return bool(
            (self.mounts and other.mounts == self.mounts)
            or (self.marker and other.marker == self.marker)
            or any(within(other.cgroups.get(controllers, ""), path) for controllers, path in self.cgroups.items())
        )


class Members:
    """Remembers what was found out: a process that belongs to a server does so until it ends."""

    def __init__(self) -> None:
        self._of: dict[Process, Process] = {}
        self._marks: dict[Process, Marks] = {}

    def find(self, servers: Iterable[Server], there: Mapping[int, Reading]) -> dict[Process, list[Reading]]:
        """Main process -> every living process of that server, the main one first. there: all processes, by pid."""
        running = {
            one.main: one
            for one in servers
            if (seen := there.get(one.main.pid)) is not None and seen.process == one.main
        }
        self._forget(running, there)
        self._learn(running, there)
        by_uid: dict[int, list[Server]] = {}
        for server in running.values():
            by_uid.setdefault(server.uid, []).append(server)
        for reading in there.values():
            if reading.process not in self._of and (theirs := by_uid.get(_owner(reading), [])):
                marks = _marks(reading.process.pid)
                for server in theirs:
                    if self._marks[server.main].fit(marks):
                        self._of[reading.process] = server.main
                        break
        self._descend(running, there)
        found: dict[Process, list[Reading]] = {main: [there[main.pid]] for main in running}
        for process, main in self._of.items():
            if process != main:
                found[main].append(there[process.pid])
        return found

    def _forget(self, running: Mapping[Process, Server], there: Mapping[int, Reading]) -> None:
        self._marks = {main: marks for main, marks in self._marks.items() if main in running}
        self._of = {
            process: main
            for process, main in self._of.items()
            if main in running and (now := there.get(process.pid)) is not None and now.process == process
        }

    def _learn(self, running: Mapping[Process, Server], there: Mapping[int, Reading]) -> None:
        """The marks of servers that were not seen before. What several have, or who started them, marks nobody."""
        new = {main: _marks(main.pid) for main in running if main not in self._marks}
        if not new:
            return
        shared = Counter(path for marks in new.values() for path in set(marks.cgroups.values()))
        shared.update(path for marks in self._marks.values() for path in set(marks.cgroups.values()))
        common = set(top_processes.cgroups(1).values()) | {"/"}
        for parent in {there[main.pid].parent for main in new}:
            common |= set(top_processes.cgroups(parent).values())
        here = top_processes.mounts(os.getpid())
        for main, marks in new.items():
            own = {name: path for name, path in marks.cgroups.items() if path not in common and shared[path] == 1}
            self._marks[main] = Marks("" if marks.mounts == here else marks.mounts, marks.marker, own)
            self._of[main] = main

    def _descend(self, running: Mapping[Process, Server], there: Mapping[int, Reading]) -> None:
        """What a member started belongs too, as long as it is the same person's."""
        children: dict[int, list[Reading]] = {}
        for reading in there.values():
            children.setdefault(reading.parent, []).append(reading)
        todo = list(self._of)
        while todo:
            above = todo.pop()
            main = self._of[above]
            for reading in children.get(above.pid, ()):
                if reading.process not in self._of and _owner(reading) == running[main].uid:
                    self._of[reading.process] = main
                    todo.append(reading.process)


def within(path: str, above: str) -> bool:
    """Whether a cgroup is another one or below it: each kernel may have one of its own. Pure."""
    return path == above or path.startswith(above + "/")


def _owner(reading: Reading) -> int:
    """The one account that a process is; -1 for one that is several (su, sudo) or gone."""
    found = uids(reading.process.pid)
    return next(iter(found)) if len(found) == 1 else -1


def _marks(pid: int) -> Marks:
    return Marks(top_processes.mounts(pid), looked.environ(pid).get(MARKER, ""), top_processes.cgroups(pid))
