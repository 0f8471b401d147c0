"""How a line of progress says that it is a phase, which people are told of; all other lines are details. Pure."""

from __future__ import annotations

import re
from typing import Final

PHASES: Final = 6
_PHASE: Final = re.compile(rf"\[\d/{PHASES}\] ")


def phase(number: int, text: str) -> str:
    """The line of a phase."""
    return f"[{number}/{PHASES}] {text}"


def is_phase(line: str) -> bool:
    """Whether a line is that of a phase."""
    return _PHASE.match(line) is not None
