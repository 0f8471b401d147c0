"""supervisor.json: what is running, for the next inner process, which adopts it, and for `status`. No secrets."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manylab.supervise.processes import Identity, is_alive

VERSION = 1
FILE = "supervisor.json"
PID_FILE = "supervisor.pid"
# The Python with which a supervisor that is told to leave people's servers alone starts anew; none: it ends.
RESTART_FILE = "restart"


@dataclass(frozen=True)
class ServiceRecord:
    """One service. since: when this state began; started: when this process did (seconds since the epoch)."""

    name: str
    state: str
    pid: int | None
    starttime: int | None
    since: float
    started: float | None
    restarts: int
    steps: float
    digest: str
    last_exit: str | None
    confined: bool

    def identity(self, boot: str) -> Identity | None:
        if self.pid is None or self.starttime is None:
            return None
        return Identity(self.pid, self.starttime, boot)


@dataclass(frozen=True)
class Record:
    """The supervisor and its services at one moment."""

    mode: str
    boot_id: str
    since: float
    written: float
    guardian: Identity | None
    inner: Identity | None
    stopping: bool
    services: tuple[ServiceRecord, ...]

    @property
    def ready(self) -> bool:
        """Whether every service answers."""
        return all(service.state == "running" for service in self.services)

    def service(self, name: str) -> ServiceRecord | None:
        return next((service for service in self.services if service.name == name), None)

    def as_json(self) -> dict[str, Any]:
        return {"version": VERSION, "ready": self.ready, **asdict(self)}


def write_record(state: Path, record: Record) -> None:
    """Replace supervisor.json in one step; readers never see half of it."""
    replace_text(state / FILE, json.dumps(record.as_json(), indent=1) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a world-readable file in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
    temporary.replace(path)


def read_state(state: Path) -> Record | None:
    """supervisor.json of a state folder, or None when there is none that makes sense. Raises PermissionError."""
    try:
        data = json.loads((state / FILE).read_text(encoding="utf-8"))
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    try:
        if data["version"] != VERSION:
            return None
        return Record(
            mode=data["mode"],
            boot_id=data["boot_id"],
            since=data["since"],
            written=data["written"],
            guardian=_identity(data["guardian"]),
            inner=_identity(data["inner"]),
            stopping=data["stopping"],
            services=tuple(ServiceRecord(**service) for service in data["services"]),
        )
    except (KeyError, TypeError):
        return None


def _identity(data: dict[str, Any] | None) -> Identity | None:
    return None if data is None else Identity(data["pid"], data["starttime"], data["boot_id"])


def supervisors(record: Record | None) -> list[Identity]:
    """Which of guardian and inner process live, the guardian first."""
    if record is None:
        return []
    return [who for who in (record.guardian, record.inner) if who is not None and is_alive(who)]


def living_services(record: Record | None) -> list[Identity]:
    """The services' processes that live, looked after or not."""
    if record is None:
        return []
    found = [service.identity(record.boot_id) for service in record.services]
    return [who for who in found if who is not None and is_alive(who)]


def remove_files(state: Path) -> None:
    """A clean stop leaves neither record nor pid file: `status` then says stopped (3), not dead (1)."""
    for name in (FILE, PID_FILE):
        with contextlib.suppress(FileNotFoundError):
            (state / name).unlink()
