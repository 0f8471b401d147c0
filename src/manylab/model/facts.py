"""What the model needs to know of the machine. Gathered by `system.facts`, so that the model itself stays pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Python:
    """An interpreter that environments can be made with. version: like "3.11.2"."""

    path: str
    version: str

    @property
    def minor(self) -> str:
        """Like "3.11"."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Facts:
    """The machine, as far as it decides what should be on it.

    system: root's site (True) or one ordinary user's. person: that user's name, "" for root's.
    service: how the site is installed: "systemd", "sysv", or "" when it is not. systemd_runs: whether systemd is PID 1.
    pythons: interpreters that everybody may run, best first. source_digest: names the code of manylab itself, by
    which of its packages are meant.
    enabled, started: whether an installed service starts at boot, and should run now. tls: texts of (certificate,
    key), None without TLS.
    pam_style: "debian" (common-auth), "redhat" (system-auth) or "other". operator: account that may start and stop it.
    downloads: the folder of Pythons that can be downloaded, "" where that is not done.
    min_uid: where people's accounts begin (login.defs). memory: bytes that this machine (or container) may use, 0 when
    that cannot be known.
    """

    system: bool
    person: str
    home: str
    service: str
    systemd_runs: bool
    pythons: tuple[Python, ...]
    source_digest: Mapping[tuple[str, ...], str]
    pam_style: str = "debian"
    operator: str = ""
    min_uid: int = 1000
    machine: str = "x86_64"
    enabled: bool = True
    started: bool = True
    tls: tuple[str, str] | None = None
    memory: int = 0
    downloads: str = ""
