"""Processes, named so that a reused pid never fools anybody: pid, start time (clock ticks since boot), boot id."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from manylab.base import procfs

MARK = "MANYLAB_SERVICE"  # in the environment of every service: tells whose a stray process is


@dataclass(frozen=True)
class Identity:
    """One process and no other."""

    pid: int
    starttime: int
    boot_id: str


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat (proc(5)) that are used here."""

    pid: int
    state: str
    ppid: int
    session: int
    starttime: int
    threads: int = 1

    @property
    def alive(self) -> bool:
        """Whether anything of it runs: a zombie's other threads go on without the first one."""
        return self.state not in "ZX" or self.threads > 1


@cache
def boot_id() -> str:
    """Changes with every boot of the kernel: pids and start times mean nothing across it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def stat(pid: int) -> Stat | None:
    """What the kernel says of a process, or None when there is none.

    Some processes cannot be looked at (base/procfs.py); when those started is said to be 0.
    """
    return procfs.first([pid], _stat, _glance).get(pid)


def _glance(pid: int) -> Stat | None:
    seen = procfs.glance(pid)
    return None if seen is None else Stat(pid, seen.state, seen.parent, seen.session, 0, seen.threads)


def _stat(pid: int) -> Iterable[Stat]:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ()
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks and brackets
    return (Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]), int(fields[17])),)


def identify(pid: int) -> Identity | None:
    """The identity of a living process."""
    found = stat(pid)
    return Identity(pid, found.starttime, boot_id()) if found is not None and found.alive else None


def is_alive(who: Identity | None) -> bool:
    """Whether that very process still lives (a zombie does not)."""
    return who is not None and identify(who.pid) == who


def open_pidfd(who: Identity) -> int | None:
    """A descriptor that becomes readable when the process ends; None when it is gone.

    Raises OSError (ENOSYS) where the kernel has no pidfds: WSL 1, Linux before 5.3.
    """
    try:
        fd = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return None
    if is_alive(who):  # looked at after opening: from here on the pid cannot become another process unseen
        return fd
    os.close(fd)
    return None


def send(who: Identity | None, number: int) -> bool:
    """Send a signal to that very process; False when it is gone."""
    if who is None:
        return False
    try:
        fd = open_pidfd(who)
    except OSError:
        return is_alive(who) and _kill(who.pid, number)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _kill(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def everything() -> dict[int, Stat]:
    """Every living process, by pid."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 (names, many of them)
    return {pid: one for pid, one in procfs.first(pids, _stat, _glance).items() if one.alive}


def descendants(roots: Iterable[int], table: dict[int, Stat]) -> set[int]:
    """The pids below `roots` in the tree of parents, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for one in table.values():
        children.setdefault(one.ppid, []).append(one.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        new = [pid for pid in children.get(todo.pop(), []) if pid not in found]
        found.update(new)
        todo.extend(new)
    return found - set(roots)


def owner(pid: int) -> int | None:
    """The real uid of a process."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def mark(pid: int) -> str | None:
    """The service whose environment a process was started with, where that can be read."""
    environment = procfs.read(pid, "environ") or b""
    prefix = f"{MARK}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("ascii", "replace")
    return None


def mark_of(state: Path, name: str) -> str:
    """The mark of one service of one site: other sites, and containers that can be seen from here, have other
    folders.
    """
    found = state.stat()
    return f"{name}@{found.st_dev}:{found.st_ino}"


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process as it shows them."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(part) for part in raw.rstrip(b"\0").split(b"\0"))


def reap() -> dict[int, int]:
    """Collect every child that has ended; the exit status of each (negative: ended by that signal)."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)
