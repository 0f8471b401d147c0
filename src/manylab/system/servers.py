"""What the command line asks of the warden. A site that does not run has no servers, and that is no error here."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from manylab.base.errors import WardenUnavailable

# A question that stops somebody's server may wait for a process that takes its time, seconds.
PATIENCE = 120.0


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """The warden's answer to one question (docs/explanation/architecture.md). Raises WardenUnavailable."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as answers:
                return dict(json.loads(answers.readline()))
    except (OSError, ValueError) as error:
        raise WardenUnavailable(
            f"the warden does not answer at {path}: {error}", hint="see 'manylab status' and 'manylab logs warden'"
        ) from None


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
    return list(ask(path, {"do": "list"}).get("servers", [])) if answers(path) else []


def stop(path: Path, person: str, server: str) -> None:
    """Stop one server and wait until it is gone."""
    ask(path, {"do": "stop", "user": person, "server": server, "now": False})


def stop_all(path: Path) -> int:
    """Stop everybody's servers; returns how many there were."""
    return int(ask(path, {"do": "stop-all"}).get("stopped", 0)) if answers(path) else 0
