"""Who may have another child of a nursery now: an account has no power over it but to make it work."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from manylab.warm import subuid

_UNPROVEN: Final = 24  # children of one account that nobody has vouched for yet
_BURST: Final = 40.0  # connections of one account at once
_RATE: Final = 10.0  # and a second afterwards
# Living children of one account: each holds a descriptor, also one that its owner stopped half-way on purpose.
_MOST: Final = 500


class Guests:
    """Counts children by account. spec: that of the nursery, with "peers", "min_uid" and "refuse"."""

    def __init__(self, spec: dict[str, Any], subordinates: Path = subuid.FILE) -> None:
        self._wanted, self._first, self._refused = spec["peers"], spec["min_uid"], frozenset(spec["refuse"])
        self._subordinates = subordinates
        self._living: Counter[int] = Counter()
        self._unproven: Counter[int] = Counter()
        self._budget: dict[int, tuple[float, float]] = {}

    def may_have_another(self, uid: int) -> bool:
        """Whether this account may; each time it is asked counts."""
        if self._wanted is not None:
            return bool(uid == self._wanted)
        if uid < self._first or uid in self._refused:
            return False
        if self._unproven[uid] >= _UNPROVEN or self._living[uid] >= _MOST:
            return False
        now = time.monotonic()
        left, when = self._budget.get(uid, (_BURST, now))
        left = min(_BURST, left + (now - when) * _RATE)
        self._budget[uid] = (left - 1 if left >= 1 else left, now)
        if len(self._budget) > 4096:
            self._budget = {key: value for key, value in self._budget.items() if now - value[1] < _BURST / _RATE}
        # Nobody's server runs as one of the 65536 that a person can be with user namespaces; its budget is another one.
        return left >= 1 and subuid.owner(uid, subuid.lines(self._subordinates)) is None

    def began(self, uid: int) -> None:
        """A child was made for this account."""
        self._living[uid] += 1
        self._unproven[uid] += 1

    def proven(self, uid: int) -> None:
        """One of its children was vouched for, or has ended without that."""
        self._less(self._unproven, uid)

    def ended(self, uid: int) -> None:
        """One of its children has ended."""
        self._less(self._living, uid)

    def forget(self) -> None:
        """A child needs to know nothing of others."""
        for table in (self._living, self._unproven, self._budget):
            table.clear()

    @staticmethod
    def _less(table: Counter[int], uid: int) -> None:
        table[uid] -= 1
        if table[uid] <= 0:
            del table[uid]
