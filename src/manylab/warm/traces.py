"""What importing a module leaves outside of it: taken back when it is put out of sight, left again when it is shown."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from typing import Any, NamedTuple


class Left(NamedTuple):
    """filters: of warnings, the last one added first. environ: variables, as bytes. threads: numbers that were given
    to threads without a name.
    """

    filters: tuple[Any, ...]
    environ: tuple[tuple[bytes, bytes], ...]
    threads: int


class Scene:
    """The state of the places where imports leave something."""

    def __init__(self) -> None:
        self.filters = list(warnings.filters)
        self.environ = _variables()
        self.threads = _thread_number()

    def left_since(self) -> Left:
        """What was added since then, without that which vanished."""
        known = set(map(id, self.filters))
        filters = tuple(item for item in warnings.filters if id(item) not in known)
        environ = tuple(pair for pair in _variables().items() if self.environ.get(pair[0]) != pair[1])
        return Left(filters, environ, _thread_number() - self.threads)

    def restore(self) -> None:
        """But for the environment, which is another one in each child anyway."""
        warnings.filters[:] = self.filters  # type: ignore[index]
        _filters_changed()
        threading._counter = itertools.count(self.threads).__next__  # type: ignore[attr-defined]


def leave(left: Left) -> None:
    """Do to this process what the import did."""
    for item in reversed(left.filters):
        if item in warnings.filters:
            warnings.filters.remove(item)  # type: ignore[attr-defined]
        warnings.filters.insert(0, item)  # type: ignore[attr-defined]
    if left.filters:
        _filters_changed()
    for name, value in left.environ:
        os.environ[os.fsdecode(name)] = os.fsdecode(value)
    for _ in range(left.threads):
        threading._counter()  # type: ignore[attr-defined]


def _variables() -> dict[bytes, bytes]:
    # Not by os.environ's own methods: who reads what is recorded.
    return dict(os.environ._data)  # type: ignore[attr-defined]


def _filters_changed() -> None:
    """What was decided for each place is decided anew (the version in `_warnings`)."""
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):
        for module in (warnings, sys.modules.get("_py_warnings")):
            if (changed := getattr(module, name, None)) is None:
                continue
            lock = getattr(module, "_lock", None) if name.endswith("held") else None
            if lock is None:
                changed()
            else:
                with lock:
                    changed()
            return


def _thread_number() -> int:
    """The number that the next thread without a name gets."""
    counter = getattr(threading._counter, "__self__", None)  # type: ignore[attr-defined]
    digits = repr(counter).partition("(")[2].rstrip(")")
    return int(digits) if digits.isdecimal() else 1
