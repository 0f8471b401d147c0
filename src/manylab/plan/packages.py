"""What two locks have in common and what not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version


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
