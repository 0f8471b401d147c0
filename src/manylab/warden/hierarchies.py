"""Which folders of control groups a process is in, and how it gets into another's."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from manylab.base.hierarchies import Hierarchy, parse, places
from manylab.warden import processes


def mounted() -> tuple[Hierarchy, ...]:
    """The trees that this process sees."""
    try:
        return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    except OSError:
        return ()


def of(pid: int) -> tuple[Path, ...]:
    """The folders a process is in, one of each tree. Raises OSError when it is gone."""
    return places(Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape"), mounted())


def write(file: Path, text: str) -> None:
    """One write to a file that must be there already (a cgroup's folder comes with its files). Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def end_early(pid: int, score: int) -> None:
    """Have a process ended before others when memory is short, and, where root may say so, never let it take that back.

    score: thousandths of the limit (or of the machine's memory) that are added to its size, proc(5). Best effort.
    """
    with contextlib.suppress(OSError):
        write(Path(f"/proc/{pid}/oom_score_adj"), str(score))


def join(main_pid: int, pid: int) -> None:
    """Move a process to where another one is, in every tree, and check it. Raises OSError; then nothing is promised."""
    seen = processes.see(main_pid)
    there, here = of(main_pid), set(of(pid))
    for folder in there:
        if folder not in here:
            write(folder / "cgroup.procs", str(pid))
    # One that has ended reads as being at the top, without any limit.
    again = processes.see(main_pid)
    if seen is None or again is None or not again.may_be(seen.process) or not again.alive:
        raise ProcessLookupError(f"process {main_pid} has ended")
    if set(of(pid)) != set(there):
        raise OSError(f"process {pid} could not be put where process {main_pid} is")
