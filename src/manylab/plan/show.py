"""Changes as text or as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manylab.plan.diff import Change

_SIGN = {"create": "+", "update": "~", "remove": "-"}


def as_text(changes: Sequence[Change]) -> str:
    """What `manylab plan` prints."""
    if not changes:
        return "Nothing to change: the machine is as the configuration says."
    lines = []
    for change in changes:
        lines.append(f"{_SIGN[change.action]} {change.key}")
        lines += [f"    {line}" for line in change.why]
    count = {action: sum(1 for change in changes if change.action == action) for action in _SIGN}
    parts = [f"{count[action]} to {action}" for action in _SIGN if count[action]]
    return "\n".join([*lines, "", ", ".join(parts) + "."])


def as_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """What `manylab plan --json` prints under `changes`."""
    return [{"resource": change.key, "action": change.action, "why": list(change.why)} for change in changes]
