"""Changes as text or as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from manylab.plan.diff import Change
from manylab.plan.packages import Moved, in_words
from manylab.plan.settings import Changed

_SIGN = {"create": "+", "update": "~", "remove": "-"}
NOTHING = "Nothing to change: the machine is as the configuration says."
_PLURAL = {"directory": "directories", "secret": "secrets"}
# Characters of a line of difference: the proxy's command line has 900.
_WIDTH = 120
# As many packages of an environment are named.
_PACKAGES = 8


def as_text(changes: Sequence[Change]) -> str:
    """Every resource with what is different in it: what `manylab plan --files` prints."""
    if not changes:
        return NOTHING
    lines = []
    for change in changes:
        lines.append(f"{_SIGN[change.action]} {change.key}")
        lines += [f"    {line if len(line) <= _WIDTH else line[: _WIDTH - 4] + ' ...'}" for line in change.why]
    count = {action: sum(1 for change in changes if change.action == action) for action in _SIGN}
    parts = [f"{count[action]} to {action}" for action in _SIGN if count[action]]
    return "\n".join([*lines, "", ", ".join(parts) + "."])


def in_short(
    settings: Sequence[Changed],
    packages: Mapping[str, Sequence[Moved]],
    changes: Sequence[Change],
    restarts: Sequence[str],
) -> str:
    """What is set differently, what that means, and how many resources it takes."""
    lines = [one.text for one in settings]
    lines += environments(changes, packages)
    if restarts:
        lines.append(f"Restarts {', '.join(restarts)}; people's servers and kernels go on.")
    kinds = Counter(change.key.partition(" ")[0] for change in changes)
    others = [_counted(kind, kinds[kind]) for kind in kinds if kind not in ("environment", "service")]
    if others:
        lines.append(f"Changes {', '.join(others)} (--files lists them).")
    return "\n".join(lines)


def environments(changes: Sequence[Change], packages: Mapping[str, Sequence[Moved]]) -> list[str]:
    """A line for each environment that is built or whose packages are other ones."""
    why = {change.key.partition(" ")[2]: change.why for change in changes if change.key.startswith("environment ")}
    lines = []
    for name in {**why, **packages}:
        moved = packages.get(name, ())
        named = [in_words(one) for one in moved[:_PACKAGES]]
        named += [f"and {len(moved) - _PACKAGES} more"] if len(moved) > _PACKAGES else []
        lines.append(f"environment {name}: {', '.join(named or why.get(name) or ['built anew'])}")
    return lines


def as_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """What `manylab plan --json` prints under `changes`."""
    return [{"resource": change.key, "action": change.action, "why": list(change.why)} for change in changes]


def _counted(kind: str, number: int) -> str:
    return f"{number} {kind if number == 1 else _PLURAL.get(kind, kind + 's')}"
