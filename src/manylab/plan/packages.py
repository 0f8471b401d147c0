"""What two locks have in common and what not. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from manylab.model import conda_lock

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[ ]*(?:;([^\\\n]+))?", re.MULTILINE)


@dataclass(frozen=True)
class Moved:
    """One package that is different. before, after: versions, None where it is not there. kind: "added", "removed",
    "up" or "down".
    """

    name: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        try:
            return "up" if Version(self.before) < Version(self.after) else "down"
        except InvalidVersion:
            return "up"


def versions(lock: str) -> dict[str, str]:
    """Name -> version of everything in a lock that is for machines like this; of several for different Pythons, the
    first.
    """
    if conda_lock.is_conda(lock):
        return {canonicalize_name(name): version for name, version in conda_lock.versions(lock).items()}
    found: dict[str, str] = {}
    for name, version, marker in _PINNED.findall(lock):
        if marker and not _applies(marker):
            continue
        found.setdefault(canonicalize_name(name), version)
    return found


def _applies(marker: str) -> bool:
    """Whether what a marker says of the system holds here; what it says of Python is left open."""
    try:
        parsed = Marker(marker.strip())
    except InvalidMarker:
        return True
    minors = [{"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"} for minor in range(9, 16)]
    return any(parsed.evaluate({**version, "extra": ""}) for version in minors)


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Moved, ...]:
    """What became different, by name."""
    return tuple(
        Moved(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def in_words(moved: Moved) -> str:
    """One change, as a line of `env add`."""
    if moved.kind == "added":
        return f"+ {moved.name} {moved.after}"
    if moved.kind == "removed":
        return f"- {moved.name} {moved.before}"
    return f"~ {moved.name} {moved.before} -> {moved.after}" + (" (older)" if moved.kind == "down" else "")
