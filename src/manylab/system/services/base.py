"""What manylab asks of whatever starts services on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from manylab.model.resources import Service


@dataclass(frozen=True)
class ServiceStatus:
    """code: LSB's (0 running, 1 dead though it should run, 3 stopped, 4 not known). text: one line for people."""

    code: int
    text: str
    pid: int | None = None


class ServiceManager(Protocol):
    """systemd or the init scripts. `name` is "manylab" or one of its parts ("manylab-hub"), without a suffix.

    Everything raises CommandFailed when the manager refuses; nothing is retried.
    """

    kind: str

    def start(self, name: str) -> None: ...
    def stop(self, name: str) -> None: ...
    def restart(self, name: str) -> None: ...
    def enable(self, name: str) -> None: ...
    def disable(self, name: str) -> None: ...
    def daemon_reload(self) -> None: ...
    def status(self, name: str) -> ServiceStatus: ...
    def is_enabled(self, name: str) -> bool: ...
    def is_active(self, name: str) -> bool: ...
    def revision(self, name: str) -> str: ...
    def converge(self, want: Service) -> None: ...
