"""What importing a module leaves outside of it: taken back when it is put out of sight, left again when it is shown."""

from __future__ import annotations

import copyreg
import itertools
import linecache
import os
import sys
import threading
import warnings
from typing import Any, Final, NamedTuple

from manylab.warm import loggers

# Tables that modules write themselves into, or are written into when they are imported.
_TABLES: Final[dict[str, dict[Any, Any]]] = {
    "finders": sys.path_importer_cache,
    "pickling": copyreg.dispatch_table,
    "lines": linecache.cache,
}


class Left(NamedTuple):
    """filters: of warnings, the last one added first. environ: variables, as bytes. threads: numbers that were given
    to threads without a name. entries: table, key and value. loggers: that were made.
    """

    filters: tuple[Any, ...]
    environ: tuple[tuple[bytes, bytes], ...]
    threads: int
    entries: tuple[tuple[str, Any, Any], ...]
    loggers: tuple[Any, ...]

    def without(self, others: list[Left]) -> Left:
        """What is not in one of the others."""
        filters = {id(item) for other in others for item in other.filters}
        environ = {pair for other in others for pair in other.environ}
        entries = {entry[:2] for other in others for entry in other.entries}
        made = {id(item) for other in others for item in other.loggers}
        return Left(
            tuple(item for item in self.filters if id(item) not in filters),
            tuple(pair for pair in self.environ if pair not in environ),
            max(0, self.threads - sum(other.threads for other in others)),
            tuple(entry for entry in self.entries if entry[:2] not in entries),
            tuple(item for item in self.loggers if id(item) not in made),
        )


def way_to(name: str) -> tuple[tuple[str, Any, Any], ...]:
    """Entries for the folders in which this module was looked for."""
    folders = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", ())
    finders = _TABLES["finders"]
    return tuple(("finders", folder, finders[folder]) for folder in folders if folder in finders)


class Scene:
    """The state of the places where imports leave something."""

    def __init__(self) -> None:
        self.filters = list(warnings.filters)
        self.environ = _variables()
        self.threads = _thread_number()
        self.entries = {name: set(table) for name, table in _TABLES.items()}
        self.loggers = loggers.Scene()

    def left_since(self) -> Left:
        """What was added since then, without that which vanished."""
        known = set(map(id, self.filters))
        filters = tuple(item for item in warnings.filters if id(item) not in known)
        environ = tuple(pair for pair in _variables().items() if self.environ.get(pair[0]) != pair[1])
        entries = tuple(
            (name, key, value)
            for name, table in _TABLES.items()
            for key, value in list(table.items())
            if key not in self.entries[name]
        )
        return Left(filters, environ, _thread_number() - self.threads, entries, self.loggers.made_since())

    def restore(self) -> None:
        """But for the environment, which is another one in each child anyway."""
        warnings.filters[:] = self.filters  # type: ignore[index]
        _filters_changed()
        threading._counter = itertools.count(self.threads).__next__  # type: ignore[attr-defined]
        for name, table in _TABLES.items():
            for key in table.keys() - self.entries[name]:
                del table[key]
        self.loggers.restore()


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
    for table, key, value in left.entries:
        _TABLES[table].setdefault(key, value)
    loggers.put(left.loggers)


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
