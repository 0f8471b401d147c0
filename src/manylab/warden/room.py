"""The folders of running servers are in memory (/run) beside those of all parts of the machine: nobody may fill it up.

A person can write into `servers/NAME`, and needs some 50 kB there. When half of that file system is used up, whoever
uses most of it loses what they have there, and the processes that have it open, until half of it is free again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manylab.warden import folders, processes

log = logging.getLogger("manylab.warden")

# What somebody may have there in any case: whoever else fills /run, people with nothing there are not to blame.
_HARMLESS_BYTES: Final = 4 << 20
_HARMLESS_FILES: Final = 2000
_DU: Final = 20.0  # seconds


@dataclass(frozen=True)
class Use:
    """What is in one folder, with all below it."""

    size: int
    files: int

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


def look(servers: Path) -> str | None:
    """The name of the person whose folder has to be emptied now; None as long as all is well. Blocks."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        room = os.statvfs(servers)
        if is_short(room) and is_memory(Path("/proc/self/mounts").read_text(errors="replace"), servers):
            sizes, files, gone = _du(servers, "-B1"), _du(servers, "--inodes"), _gone(servers)
            uses = {name: Use(size + gone.get(name, 0), files.get(name, 0)) for name, size in sizes.items()}
            return to_blame(uses, room)
    return None


def _du(folder: Path, unit: str) -> dict[str, int]:
    """By du(1), which follows no links and knows no folder that is too deep."""
    done = subprocess.run(
        ["du", "-x", "-d1", unit, "--", "."], cwd=folder, capture_output=True, timeout=_DU, check=False
    )
    rows = (line.partition("\t") for line in done.stdout.decode(errors="replace").splitlines())
    return {name.removeprefix("./"): int(number) for number, _, name in rows if name.startswith("./")}


def _gone(servers: Path) -> dict[str, int]:
    """Bytes of files that have no name any more, and are open, by the folder that they were in."""
    found: dict[str, dict[int, int]] = {}
    for pid in _pids():
        for name in _open(pid):
            with contextlib.suppress(OSError):
                file = os.readlink(name)  # noqa: PTH115 (a name of what may be gone)
                if file.startswith(f"{servers}/") and file.endswith(" (deleted)"):
                    status = os.stat(name)  # noqa: PTH116
                    owner = file[len(f"{servers}/") :].partition("/")[0]
                    found.setdefault(owner, {})[status.st_ino] = status.st_blocks * 512
    return {owner: sum(sizes.values()) for owner, sizes in found.items()}


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 (names only)


def _open(pid: int) -> list[str]:
    """The descriptors of a process, and what it has mapped."""
    found = []
    for kind in ("fd", "map_files"):
        with contextlib.suppress(OSError):
            found += [entry.path for entry in os.scandir(f"/proc/{pid}/{kind}")]
    return found


def empty(servers: Path, name: str) -> None:
    """Take away what a person has in their folder, and that they can write there, until their next start. Blocks."""
    folder = servers / name
    log.warning("%s uses up %s, in memory: it is emptied, and what has files there open is ended", name, folder)
    with contextlib.suppress(OSError):
        folders.close(folder)
    with contextlib.suppress(KeyError):
        uid = pwd.getpwnam(name).pw_uid
        for pid in _pids():
            seen = processes.see(pid)
            # A file that is open takes room also when it has no name any more.
            if seen is not None and processes.uids(pid) == {uid} and _uses(pid, folder):
                processes.send(seen.process, signal.SIGKILL)
    folders.remove_trees(str(folder))


def _uses(pid: int, folder: Path) -> bool:
    for name in _open(pid):
        with contextlib.suppress(OSError):
            if os.readlink(name).startswith(f"{folder}/"):  # noqa: PTH115 (a name of what may be gone)
                return True
    return False
