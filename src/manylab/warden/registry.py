"""What the warden knows of running servers, one file each, so that a new warden finds the servers of the old one."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manylab.base import names
from manylab.base.errors import AlreadyRunning, BadName
from manylab.warden import folders
from manylab.warden.cgroups import Cage, find
from manylab.warden.processes import Family, Process

log = logging.getLogger("manylab.warden")


@dataclass(frozen=True)
class Entry:
    """One start of one server. since: seconds since 1970. scope: its systemd unit, if it has one.

    kind, paths: its control group, as in cgroups.Cage. kernels: pid and starttime of those that a nursery made.
    groups: those of its PAM session, beside the account's.
    configured: settings that the site had when it started, and its limits; `manylab plan` compares them, they decide
    nothing.
    """

    user: str
    server: str
    uid: int
    pid: int
    starttime: int
    boot: str
    since: float
    socket: str
    scope: str | None
    marker: str
    audit: int | None = None
    kind: str = "none"
    paths: tuple[str, ...] = ()
    kernels: tuple[tuple[int, int], ...] = ()
    groups: tuple[int, ...] = ()
    configured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names.account(self.user)
        names.server(self.server)
        for number in (self.uid, self.pid, self.starttime):
            if not isinstance(number, int) or number < 0:
                raise ValueError("not a number")
        texts = (self.boot, self.socket, self.marker)
        if not all(isinstance(text, str) and text for text in texts) or not isinstance(self.since, (int, float)):
            raise ValueError("not text")
        if self.audit is not None and not isinstance(self.audit, int):
            raise ValueError("not an audit session")
        if not isinstance(self.configured, dict):
            raise ValueError("not an object")
        # As they come from JSON: lists.
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "kernels", tuple((int(pid), int(start)) for pid, start in self.kernels))
        object.__setattr__(self, "groups", tuple(int(group) for group in self.groups))
        object.__setattr__(self, "kind", "systemd" if self.scope is not None else self.kind)
        self.cage  # noqa: B018  raises ValueError

    @property
    def key(self) -> tuple[str, str]:
        return self.user, self.server

    @property
    def process(self) -> Process:
        return Process(self.pid, self.starttime)

    @property
    def cage(self) -> Cage:
        """Its control group. Raises ValueError."""
        return find({"kind": self.kind, "scope": self.scope, "paths": self.paths})

    @property
    def family(self) -> Family:
        return Family(self.process, self.uid, self.marker, self.audit)


class Registry:
    """The folder of entries; one warden at a time. Raises AlreadyRunning, OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folders.own(folder.parent, 0o711)
        folders.own(folder, 0o700)
        # Held until this process ends, however it ends; closed in everything that it starts.
        self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise AlreadyRunning(f"another warden uses {folder}", hint="stop that one first") from None

    def close(self) -> None:
        """Let another warden in."""
        os.close(self._lock)

    def write(self, entry: Entry) -> None:
        """Remember an entry: all of it or nothing."""
        path = self._file(entry)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
        temporary.replace(path)

    def remove(self, entry: Entry) -> None:
        """Forget an entry, unless a later start of the same server is remembered in its place."""
        if (now := self._read(self._file(entry))) is None or now.marker == entry.marker:
            self._file(entry).unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read; others are removed."""
        for path in sorted(self.folder.glob("*.json")):
            entry = self._read(path)
            if entry is None or self._file(entry) != path:
                log.warning("%s is no entry of the registry and is removed", path)
                path.unlink(missing_ok=True)
            else:
                yield entry

    def _file(self, entry: Entry) -> Path:
        return (
            self.folder / f"{names.folder(entry.user)}+{names.server_folder(entry.server)}.json"
        )  # "+" is in neither name

    @staticmethod
    def _read(path: Path) -> Entry | None:
        try:
            return Entry(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError, BadName):
            return None
