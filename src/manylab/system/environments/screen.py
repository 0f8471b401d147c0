"""What uv draws on a terminal, as one line: how much has come of how much, and how fast. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from manylab.system.run import CONTROL

# A name, a bar, and how far it is.
_BAR = re.compile(r"(\S+) +-+ +([\d.]+) ([KMG]?i?B)/([\d.]+) ([KMG]?i?B)")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
# A bar that is no longer drawn is that of a file which has come, seconds.
_GONE = 0.5
# Seconds over which the rate is taken, and between two lines.
_WINDOW, _BETWEEN = 3.0, 0.25


@dataclass
class Screen:
    """Everything that is drawn, in the order in which it comes. files: name -> (bytes, of how many, when seen)."""

    files: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    marks: list[tuple[float, float]] = field(default_factory=list)
    said: float = float("-inf")
    rest: str = ""

    def feed(self, text: str, now: float) -> str:
        """The line that is to be shown now, "" for none. now: seconds of any clock."""
        whole, _, self.rest = (self.rest + text).rpartition("\r")
        for name, some, unit, all_of_it, unit_of_all in _BAR.findall(CONTROL.sub("", whole)):
            self.files[name] = (float(some) * _UNITS[unit], float(all_of_it) * _UNITS[unit_of_all], now)
        if not self.files or now - self.said < _BETWEEN:
            return ""
        self.said = now
        have = sum(total if now - seen > _GONE else some for some, total, seen in self.files.values())
        total = sum(total for _, total, _ in self.files.values())
        self.marks = [mark for mark in self.marks if now - mark[0] <= _WINDOW] or self.marks[-1:]
        rate = (have - self.marks[0][1]) / (now - self.marks[0][0]) if self.marks else 0.0
        self.marks.append((now, have))
        left = sum(now - seen <= _GONE for _, _, seen in self.files.values())
        if not left:
            return ""
        far, speed = f"{have / 1e6:.1f} of {total / 1e6:.1f} MB", f"{max(rate, 0) / 1e6:.1f} MB/s"
        return f"downloading: {far}, {speed}, files to come: {left}"
