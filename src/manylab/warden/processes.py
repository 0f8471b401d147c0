"""Which processes belong to a server, and signals that never reach a process that merely got the same number.

A process is known by its pid and the moment it started (field 22 of /proc/PID/stat, clock ticks since boot): the kernel
gives a pid again, never both.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARKER: Final = "MANYLAB_SERVER_ID"  # in the environment of a server and so of all it starts
_NO_SESSION: Final = 0xFFFFFFFF  # the kernel's AUDIT_SID_UNSET


@dataclass(frozen=True)
class Process:
    """One process, whatever happens to its number later."""

    pid: int
    starttime: int


@dataclass(frozen=True)
class Seen:
    """What /proc says of a process at one moment."""

    process: Process
    parent: int
    session: int
    state: str
    threads: int = 1

    @property
    def alive(self) -> bool:
        """A zombie has ended; only its parent has not asked how.

        But not one with other threads: where the first of them has ended alone (pthread_exit), the others go on.
        """
        return self.state not in "ZXx" or self.threads > 1


@dataclass(frozen=True)
class Family:
    """How the processes of one start of one server are recognised."""

    main: Process
    uid: int
    marker: str
    audit: int | None


def boot_id() -> str:
    """This boot of the machine; starttimes of another boot mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def see(pid: int) -> Seen | None:
    """The process with this number, or None."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name, in brackets, may hold anything; what follows the last bracket are fields 3 (state) and on.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Seen(Process(pid, int(fields[19])), int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[17]))


def uids(pid: int) -> frozenset[int]:
    """Real, effective, saved and file-system uid. (/proc/PID itself is root's for some of a person's processes.)"""
    return frozenset(_uids(pid))


def real_uid(pid: int) -> int | None:
    """Who started it: a person can end also what is set-uid, if it is they who started it. None when it is gone."""
    return next(iter(_uids(pid)), None)


def _uids(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("Uid:"):
                return [int(number) for number in line.split()[1:]]
    return []


def alive(process: Process) -> bool:
    """Whether exactly this process still runs."""
    seen = see(process.pid)
    return seen is not None and seen.process == process and seen.alive


def audit_session(pid: int) -> int | None:
    """The audit session that `child` began for a server; all it starts inherit it, and only root can change it."""
    try:
        number = int(Path(f"/proc/{pid}/sessionid").read_text())
    except (OSError, ValueError):
        return None
    return None if number in (0, _NO_SESSION) else number


def family(of: Family, known: Iterable[Process] = ()) -> set[Process]:
    """Every living process of a server: itself, its descendants and what was once its descendant.

    Kernels begin sessions of their own and a double fork leaves no parent behind, so several marks are looked for: the
    parent, the variable in the environment, the audit session, the session of a process that belongs, and what an
    earlier look had found (`known`). Only processes that are the person's own and nobody else's count: no trick with
    these marks can make root end a process of another account.
    """
    there: dict[int, Seen] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names, not paths, and there are thousands)
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        seen = see(int(entry))
        if seen is not None and seen.alive and uids(seen.process.pid) == {of.uid}:
            there[seen.process.pid] = seen
    anchors = {of.main, *known}
    found = {pid for pid, seen in there.items() if seen.process in anchors or _is_marked(pid, of)}
    while True:
        more = {
            pid for pid, seen in there.items() if pid not in found and (seen.parent in found or seen.session in found)
        }
        if not more:
            return {there[pid].process for pid in found}
        found |= more


def _is_marked(pid: int, of: Family) -> bool:
    if of.audit is not None and audit_session(pid) == of.audit:
        return True
    try:
        return f"{MARKER}={of.marker}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def open_pidfd(process: Process) -> int | None:
    """A descriptor that means exactly this process and becomes readable when it ends.

    None where the kernel has none (before 5.3); raises ProcessLookupError when the process is gone.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None
    # Looked at after the descriptor exists: from here on the number cannot come to mean another process unnoticed.
    seen = see(process.pid)
    if seen is None or seen.process != process:
        os.close(descriptor)
        raise ProcessLookupError(process.pid)
    return descriptor


def send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = open_pidfd(process)
        if descriptor is None:
            if alive(process):
                os.kill(process.pid, number)
            return
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
