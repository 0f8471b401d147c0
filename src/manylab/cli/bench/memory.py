"""Memory of processes and of the machine, as the kernel accounts for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manylab.cli.bench.people import processes_of
from manylab.cli.look.top_processes import Reading, amounts, read

# A server that has just come up still has this and that to do.
SETTLES_WITHIN = 15.0
QUIET = 0.5


@dataclass(frozen=True)
class Usage:
    """Bytes. private: what nobody else has (Private_Clean + Private_Dirty), which is what one more process costs.
    pss: its share of everything. page_tables: the kernel's own book-keeping for it. processes: how many.
    """

    private: int = 0
    pss: int = 0
    page_tables: int = 0
    processes: int = 0


def usage(pids: Iterable[int]) -> Usage:
    """What these processes use together."""
    private = pss = page_tables = count = 0
    for pid in pids:
        try:
            rollup = amounts(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
            status = amounts(Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        private += rollup.get("Private_Clean", 0) + rollup.get("Private_Dirty", 0)
        pss += rollup.get("Pss", 0)
        page_tables += status.get("VmPTE", 0)
        count += 1
    return Usage(private, pss, page_tables, count)


def settled(uid: int) -> set[int]:
    """The account's processes, once none of them has used the processor for half a second (or after 15 s)."""
    deadline = time.monotonic() + SETTLES_WITHIN
    before: dict[int, float | None] = {}
    while True:
        now = {process.pid: _cpu(read(process.pid)) for process in processes_of({uid})}
        if now == before or time.monotonic() > deadline:
            return set(now)
        before = now
        time.sleep(QUIET)


def _cpu(reading: Reading | None) -> float | None:
    return None if reading is None else reading.cpu


def machine() -> tuple[int, int]:
    """(bytes of memory in all, bytes that are still available without swapping)."""
    found = amounts(Path("/proc/meminfo").read_text(encoding="ascii"))
    return found["MemTotal"], found["MemAvailable"]
