"""Which processes belong to a server, and signals that never reach a process that merely got the same number.

A process is known by its pid and the moment it started (field 22 of /proc/PID/stat, clock ticks since boot): the kernel
gives a pid again, never both. That moment is in a file that somebody can keep from being read (see base/procfs.py):
such a process is alive as long as what can be read says so, and is ended as what it is, one that cannot be looked at.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manylab.base import procfs
from manylab.warm import wire

HUNG: Final = 0  # in the place of the moment it started: it cannot be looked at
MARKER: Final = wire.SERVER_VARIABLE
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
    def hung(self) -> bool:
        """Whether it cannot be looked at: it may be any process that had this number."""
        return self.process.starttime == HUNG

    def may_be(self, process: Process) -> bool:
        """Whether it is this one, as far as can be seen. Only for what is known to be the person's own."""
        same = HUNG in (self.process.starttime, process.starttime) or self.process == process
        return same and self.process.pid == process.pid

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
    """The process with this number, or None. Blocks: half a second when it cannot be looked at."""
    return procfs.first([pid], _stat, glance).get(pid)


def glance(pid: int) -> Seen | None:
    """The same from what never keeps one waiting: all but the moment it started. For the event loop."""
    seen = procfs.glance(pid)
    return None if seen is None else Seen(Process(pid, HUNG), seen.parent, seen.session, seen.state, seen.threads)


def _stat(pid: int) -> Iterable[Seen]:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ()
    # The name, in brackets, may hold anything; what follows the last bracket are fields 3 (state) and on.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return (Seen(Process(pid, int(fields[19])), int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[17])),)


def uids(pid: int) -> frozenset[int]:
    """Real, effective, saved and file-system uid. (/proc/PID itself is root's for some of a person's processes.)"""
    return frozenset(procfs.uids(pid))


def real_uid(pid: int) -> int | None:
    """Who started it: a person can end also what is set-uid, if it is they who started it. None when it is gone."""
    return procfs.real_uid(pid)


def alive(process: Process) -> bool:
    """Whether exactly this process still runs; or one of its number that cannot be looked at."""
    seen = see(process.pid)
    return seen is not None and (seen.process == process or seen.hung) and seen.alive


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
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 (names, and thousands)
    theirs = [pid for pid in pids if pid != os.getpid() and uids(pid) == {of.uid}]
    looked = procfs.first(theirs, _stat, glance)
    there = {pid: seen for pid, seen in looked.items() if seen.alive and uids(pid) == {of.uid}}
    anchors = {one.pid: one for one in (*known, of.main)}
    found = {
        pid for pid, seen in there.items() if (pid in anchors and seen.may_be(anchors[pid])) or _is_marked(pid, of)
    }
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
    return f"{MARKER}={of.marker}".encode() in (procfs.read(pid, "environ") or b"").split(b"\0")


def open_pidfd(process: Process, uid: int | None = None) -> int | None:
    """A descriptor that means exactly this process and becomes readable when it ends.

    uid: whose it is; one of theirs that cannot be looked at is taken for it. None where the kernel has none (before
    5.3); raises ProcessLookupError when the process is gone. Blocks as `see` does.
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
    if seen is None or not (seen.process == process or (seen.hung and uids(process.pid) == {uid})):
        os.close(descriptor)
        raise ProcessLookupError(process.pid)
    return descriptor


def send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens when it is gone. Blocks as `see` does.

    One that cannot be looked at is signalled only where it was found as that: its number means it still.
    """
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
