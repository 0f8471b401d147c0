"""What is said of running servers that keep old values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manylab.plan.settings import Changed

# As many servers are named; of a class of 60 that all keep the same, these and a number.
_MOST = 12


@dataclass(frozen=True)
class Kept:
    """A running server that keeps old values. settings: before is what it has. moved: it keeps its old address."""

    user: str
    server: str
    settings: tuple[Changed, ...]
    moved: bool

    @property
    def name(self) -> str:
        """ "bob", or "bob/exp" for a named server."""
        return f"{self.user}/{self.server}" if self.server else self.user

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        keeps = [change.as_data() for change in self.settings]
        return {"user": self.user, "server": self.server, "keeps": keeps, "moved": self.moved}


def as_text(kept: Sequence[Kept], command: str = "manylab restart --servers") -> list[str]:
    """Lines that name each server and what it keeps, and what to type; none when there is nothing to say."""
    if not kept:
        return []
    lines = ["These servers run and keep old values until they are restarted:"]
    for one in kept[:_MOST]:
        lines.append(f"  {one.name}: {', '.join(change.key for change in one.settings)}")
    if len(kept) > _MOST:
        lines.append(f"  and {len(kept) - _MOST} more")
    new_names = any(change.key == "http.subdomains" and change.after for one in kept for change in one.settings)
    if new_names:
        lines.append("Open notebooks have to be opened again at the new address; their kernels go on.")
    elif any(one.moved for one in kept):
        lines.append(
            "Open notebooks go on at the old address; at the new one, the owner is asked whether to restart the server."
        )
    lines.append(f"To restart them now, which ends their kernels: {command}")
    return lines
