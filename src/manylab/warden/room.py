"""The folders of running servers are in memory (/run) beside those of all parts of the machine: nobody may fill it up.

A person can write into `servers/NAME`, and needs some 50 kB there. When half of that file system is used up, whoever
uses most of it loses what they have there, and the processes that have it open, until half of it is free again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

from manylab.base import names, procfs
from manylab.base.errors import BadName
from manylab.warden import folders, processes
from manylab.warm import subuid

log = logging.getLogger("manylab.warden")

# What somebody may have there in any case: whoever else fills /run, people with nothing there are not to blame.
_HARMLESS_BYTES: Final = 4 << 20
_HARMLESS_FILES: Final = 2000
_DU: Final = 20.0  # seconds
_SAY_EVERY: Final = 600.0  # seconds between two lines of log about room that nobody can be blamed for
# Seconds for the descriptors of one account: somebody can have a hundred million, and nobody is to hide behind them.
_PATIENCE: Final = 10.0
_NAMELESS: Final = " (deleted)"  # how the kernel ends the path of what has no name any more


@dataclass(frozen=True)
class Use:
    """What is in one folder, with all below it."""

    size: int
    files: int

    def __add__(self, other: Use) -> Use:
        return Use(self.size + other.size, self.files + other.files)

    def part(self, room: os.statvfs_result) -> float:
        """How much of the whole: of the bytes or of the files, whichever is more."""
        return max(self.size / max(1, room.f_blocks * room.f_frsize), self.files / max(1, room.f_files))


def is_memory(mounts: str, path: Path) -> bool:
    """Whether a path is on a file system in memory. mounts: /proc/self/mounts. Pure."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and path.is_relative_to(fields[1]) and len(fields[1]) >= best:
            best, kind = len(fields[1]), fields[2]
    return kind in ("tmpfs", "ramfs")


def is_short(room: os.statvfs_result) -> bool:
    """Whether less than half of a file system is left. Pure."""
    return 2 * room.f_bfree < room.f_blocks or 2 * room.f_ffree < room.f_files


def to_blame(uses: Mapping[str, Use], room: os.statvfs_result) -> str | None:
    """Who has most, if that is more than anybody needs. Pure."""
    able = {name: use for name, use in uses.items() if use.size > _HARMLESS_BYTES or use.files > _HARMLESS_FILES}
    return max(able, key=lambda name: able[name].part(room), default=None)


def owner(uid: int, people: Mapping[int, str], subordinates: Iterable[str]) -> str | None:
    """Whose this account is, if anybody's. people: {uid: folder}. subordinates: the lines of /etc/subuid. Pure.

    With user namespaces one person can be 65536 uids more.
    """
    if uid in people:
        return people[uid]
    name = subuid.owner(uid, subordinates) or ""
    try:
        folder = names.folder(name)
    except BadName:
        return None
    if folder in people.values():
        return folder
    # A number may be a uid, when it is not a name: as useradd and newuidmap read that file.
    return people.get(int(name)) if name.isascii() and name.isdecimal() else None


class Room:
    """Looks at the file system of the sockets, and empties the folder of whoever fills it. All of it blocks."""

    def __init__(self, subordinates: Path = subuid.FILE) -> None:
        self._subordinates = subordinates
        self._hidden: Counter[str] = Counter()  # processes that could not be looked at, by whose they are
        self._hidden_before: Counter[str] = Counter()  # the same at the look before
        self._people: dict[int, str] = {}  # also those whose folder has been emptied: they may still hold files
        self._said = -_SAY_EVERY

    def look(self, servers: Path) -> str | None:
        """The name of the folder (see names.folder) that has to be emptied now; None as long as all is well."""
        with contextlib.suppress(OSError):
            room = os.statvfs(servers)
            if is_short(room) and is_memory(Path("/proc/self/mounts").read_text(errors="replace"), servers):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if (name := to_blame(self.uses(servers), room) or self._hiding()) is not None:
                        return name
                self._say(servers)
        return None

    def uses(self, servers: Path) -> dict[str, Use]:
        """What everybody has there, with a name or without. Raises OSError, TimeoutExpired."""
        for entry in os.scandir(servers):
            # One that was emptied is root's.
            if entry.is_dir(follow_symlinks=False) and (uid := entry.stat(follow_symlinks=False).st_uid) != 0:
                self._people[uid] = entry.name
        sizes, files = _du(servers, "-B1"), _du(servers, "--inodes")
        uses = {name: Use(size, files.get(name, 0)) for name, size in sizes.items()}
        subordinates = subuid.lines(self._subordinates)
        hung: list[int] = []
        for uid, use in nameless(servers.stat().st_dev, hung).items():
            if (name := owner(uid, self._people, subordinates)) is not None:
                uses[name] = uses.get(name, Use(0, 0)) + use
        self._hidden, self._hidden_before = Counter(), self._hidden
        for whose in map(processes.real_uid, hung):
            if whose is not None and (name := owner(whose, self._people, subordinates)) is not None:
                self._hidden[name] += 1
        return uses

    def _hiding(self) -> str | None:
        """Who has most processes that cannot be looked at, twice: when nobody is seen to use much, it must be there."""
        both = self._hidden & self._hidden_before
        return max(both, key=both.__getitem__, default=None)

    def empty(self, servers: Path, name: str) -> None:
        """Take away what is in the folder of this name, and that its owner can write there, until their next start."""
        folder = servers / name
        log.warning("%s uses up %s, in memory: it is emptied, and what has files there open is ended", name, folder)
        with contextlib.suppress(OSError):
            folders.close(folder)
        subordinates = subuid.lines(self._subordinates)
        with contextlib.suppress(OSError):
            device = servers.stat().st_dev

            def has_files(pid: int) -> Iterator[bool | None]:
                # A file that is open takes room also when it has no name any more, and it has it wherever it is seen.
                for file, status in _open(pid):
                    if file.startswith(f"{folder}/") or (
                        _is_nameless(status, device) and owner(status.st_uid, self._people, subordinates) == name
                    ):
                        yield True
                        break
                    yield None

            for pid in _pids():
                uid = processes.real_uid(pid)
                if uid is None or owner(uid, self._people, subordinates) != name:
                    continue
                seen = processes.see(pid)
                # What cannot be looked at may have them.
                if seen is not None and procfs.each([pid], has_files).get(pid, [True]):
                    processes.send(seen.process, signal.SIGKILL)
        folders.remove_trees(str(folder))

    def _say(self, servers: Path) -> None:
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            log.warning(
                "less than half of the memory file system of %s is left, and nobody is seen to use much of it: look"
                " with 'df -h', 'df -i', 'du -x' and, for files on their way through a socket, 'ss -xp' (Recv-Q);"
                " ending the processes that have them frees it, 'mount -o remount,size=...' gives more",
                servers,
            )


def _du(folder: Path, unit: str) -> dict[str, int]:
    """By du(1), which follows no links and knows no folder that is too deep."""
    done = subprocess.run(
        ["du", "-x", "-d1", unit, "--", "."], cwd=folder, capture_output=True, timeout=_DU, check=False
    )
    rows = (line.partition("\t") for line in done.stdout.decode(errors="replace").splitlines())
    return {name.removeprefix("./"): int(number) for number, _, name in rows if name.startswith("./")}


def nameless(device: int, hung: list[int] | None = None) -> dict[int, Use]:
    """What is on a file system without a name, and open in some process; by the uid that owns the file.

    hung: gets the processes that cannot be looked at.
    """
    uses: dict[int, Use] = {}
    for uid, size in nameless_files(device, hung).values():
        uses[uid] = uses.get(uid, Use(0, 0)) + Use(size, 1)
    return uses


def nameless_files(device: int, hung: list[int] | None = None) -> dict[int, tuple[int, int]]:
    """Each of them: {inode: (uid, bytes)}.

    The file itself says where it is and whose: what a path reads like, anybody can have of a file system of their own.
    """
    spent: defaultdict[int | None, float] = defaultdict(float)

    def look(pid: int) -> Iterator[os.stat_result | None]:
        uid, began = processes.real_uid(pid), time.monotonic()
        for _, status in _open(pid):
            yield status if _is_nameless(status, device) else None
            if spent[uid] + time.monotonic() - began > _PATIENCE:
                break
        spent[uid] += time.monotonic() - began

    pids = _pids()
    random.shuffle(pids)  # nobody can keep theirs for the end, when patience is over
    looked = procfs.each(pids, look)
    if hung is not None:
        hung += (pid for pid in pids if pid not in looked)
    return {status.st_ino: (status.st_uid, status.st_blocks * 512) for found in looked.values() for status in found}


def _is_nameless(status: os.stat_result | None, device: int) -> TypeGuard[os.stat_result]:
    return status is not None and status.st_dev == device and status.st_nlink == 0


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 (names only)


def _open(pid: int) -> Iterator[tuple[str, os.stat_result | None]]:
    """The path of each file that a process has open or mapped; and of one without a name, what it really is."""
    for place in _places(pid):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    path = os.readlink(entry.path)  # noqa: PTH115 (a name of what may be gone)
                    # Others are not touched: a file of a server that does not answer would hold this up.
                    yield path, os.stat(entry.path) if path.endswith(_NAMELESS) else None  # noqa: PTH116


def _places(pid: int) -> Iterator[str]:
    """Where its descriptors and mappings are. Each thread can have descriptors of its own."""
    with contextlib.suppress(OSError):
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (names only)
        yield from (f"/proc/{thread}/fd" for thread in threads)
        # All threads have the same mappings; the first one shows none when it alone has ended.
        yield from (f"/proc/{thread}/map_files" for thread in {threads[0], threads[-1]})
