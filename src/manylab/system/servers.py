"""What the command line asks of the warden. A site that does not run has no servers, and that is no error here."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from manylab.system.warden_client import ask_sync

# A question that stops somebody's server may wait for a process that takes its time, seconds.
PATIENCE = 120.0


def answers(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def running(path: Path) -> list[dict[str, Any]]:
    """All running servers ({user, server, pid, since, socket}), [] while the warden does not run."""
    return list(ask_sync(path, {"do": "list"}, PATIENCE).get("servers", [])) if answers(path) else []


def started_with(registry: Path, socket_path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Person, server and what the site was set to when it was started, for each running server.

    Read from the warden's registry; servers of an earlier manylab, which did not write it down, are left out.
    """
    pids = {(one["user"], one["server"]): one["pid"] for one in running(socket_path)}
    found = []
    for file in sorted(registry.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            entry = json.loads(file.read_text(encoding="utf-8"))
            key = (entry["user"], entry["server"])
            if pids.get(key) == entry["pid"] and entry.get("configured"):
                found.append((*key, entry["configured"]))
    return found


def stop(path: Path, person: str, server: str) -> None:
    """Stop one server and wait until it is gone."""
    ask_sync(path, {"do": "stop", "user": person, "server": server, "now": False}, PATIENCE)


def stop_all(path: Path) -> int:
    """Stop everybody's servers; returns how many there were."""
    return int(ask_sync(path, {"do": "stop-all"}, PATIENCE).get("stopped", 0)) if answers(path) else 0
