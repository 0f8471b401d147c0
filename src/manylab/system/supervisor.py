"""Finds the supervisor of a site, if one runs (where there is no systemd): for those who have to tell it something."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path


def guardian(state: Path) -> int | None:
    """The supervisor's pid, or None when none runs.

    A pid that something else has by now is told apart by its start time.
    """
    try:
        said = json.loads((state / "supervisor.json").read_text(encoding="utf-8"))
        pid, started = int(said["guardian"]["pid"]), int(said["guardian"]["starttime"])
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Field 22 of /proc/PID/stat (proc(5)) is the start time in clock ticks; `fields` begins with field 3.
    return pid if int(fields[19]) == started and fields[0] != "Z" else None


def reload(state: Path) -> bool:
    """Have the supervisor read services.json again and restart what changed. Returns whether one runs."""
    pid = guardian(state)
    if pid is None:
        return False
    os.kill(pid, signal.SIGUSR2)
    return True
