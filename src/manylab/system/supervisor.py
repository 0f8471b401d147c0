"""Finds the supervisor of a site, if one runs (where there is no systemd): for those who have to tell it something."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


def digest_of(service: dict[str, Any]) -> str:
    """Names one service of services.json: the supervisor restarts it when this changes."""
    return hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()[:16]


def reload(state: Path, services: Sequence[dict[str, Any]], *, timeout: float) -> bool:
    """Have the supervisor read services.json again, and wait until it runs these services, at most `timeout` seconds.

    Returns whether it does; False also when no supervisor runs.
    """
    pid = guardian(state)
    if pid is None:
        return False
    os.kill(pid, signal.SIGUSR2)
    wanted = {service["name"]: digest_of(service) for service in services}
    deadline = time.monotonic() + timeout
    before = {name: restarts for name, (_, _, restarts) in _services(state).items()}
    while time.monotonic() < deadline:
        found = _services(state)
        if {name: digest for name, (digest, running, _) in found.items() if running} == wanted:
            return True
        # What fails again and again at once is not going to run: no need to wait for the whole time.
        for name, (digest, _, restarts) in found.items():
            if digest == wanted.get(name) and restarts - before.get(name, 0) >= _HOPELESS:
                return False
        time.sleep(0.1)
    return False


# One restart is the change itself; a part that lost a race for a socket or a database gets two more chances.
_HOPELESS = 4


def _services(state: Path) -> dict[str, tuple[str, bool, int]]:
    """Name -> (digest, whether it answers, how often it was started again)."""
    try:
        said = json.loads((state / "supervisor.json").read_text(encoding="utf-8"))
        return {
            item["name"]: (item["digest"], item["state"] == "running", item["restarts"]) for item in said["services"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
