"""Other people's processes: arguments, environment, memory. Read from /proc once for all.

Nobody can make these looks last for ever: see base/procfs.py. What cannot be looked at reads as empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from manylab.base import procfs
from manylab.warden.processes import MARKER


def pids() -> Iterator[int]:
    """Every process but this one."""
    yield from (pid for pid in psutil.pids() if pid != os.getpid())


def command_line(pid: int) -> bytes:
    """The arguments of a process, each ended by a zero byte; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environ(pid: int) -> dict[str, str]:
    """What a process was started with; empty when it is gone or may not be read."""
    return environs([pid]).get(pid, {})


def environs(wanted: Iterable[int]) -> dict[int, dict[str, str]]:
    """The same of many processes, by pid, where it can be read."""
    return procfs.first(wanted, _environ)


def _environ(pid: int) -> Iterable[dict[str, str]]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ()
    entries = (entry.decode("utf-8", "replace").partition("=") for entry in raw.split(b"\0") if entry)
    return ({name: value for name, _, value in entries},)


def marked() -> list[int]:
    """Processes that belong to somebody's server, as far as this account may see."""
    return [pid for pid, environment in environs(pids()).items() if MARKER in environment]


def uid(pid: int) -> int | None:
    """Whose process it is; None when it is gone."""
    return procfs.real_uid(pid)
