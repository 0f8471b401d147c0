"""Which limits hold for one person: their own, else those of their groups, else everybody's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

# The name of a server's limits beside the settings that it was started with, in the warden's registry.
LIMITS: Final = "limits"


@dataclass(frozen=True)
class Limits:
    """memory: bytes. cpu: cores. tasks: processes and threads. None: no limit."""

    memory: int | None = None
    cpu: float | None = None
    tasks: int | None = None


# What is said for one group or person: an absent key says nothing, None says "no limit".
Said = Mapping[str, Any]


def resolve(said: Mapping[str, Mapping[str, Said]], usual: Limits, name: str, groups: Iterable[str]) -> Limits:
    """Each limit by itself: the person's own entry; else the most generous of their groups'; else the usual one.

    said: {"groups": {GROUP: {"memory", "cpu", "tasks"}}, "people": {NAME: ...}}, as in warden.json. groups: all that
    the person is in.
    """
    own = said.get("people", {}).get(name, {})
    of_groups = said.get("groups", {})
    theirs = [of_groups[group] for group in groups if group in of_groups]
    return Limits(**{one.name: _one(one.name, own, theirs, usual) for one in fields(Limits)})


def _one(limit: str, own: Said, groups: list[Said], usual: Limits) -> Any:
    if limit in own:
        return own[limit]
    if values := [group[limit] for group in groups if limit in group]:
        return None if None in values else max(values)
    return getattr(usual, limit)
