"""What importing a module leaves outside of it: taken back when it is put out of sight, left again when it is shown."""

from __future__ import annotations

import contextvars
import copyreg
import encodings
import itertools
import linecache
import os
import sys
import threading
import warnings
from typing import Any, Final, NamedTuple

from manylab.warm import loggers

# Tables that modules write themselves into, or are written into when they are imported.
_TABLES: Final[dict[str, Any]] = {
    "finders": sys.path_importer_cache,
    "pickling": copyreg.dispatch_table,
    "lines": linecache.cache,
    "codecs": encodings._cache,
    "ends of threads": getattr(threading, "_threading_atexits", []),
}
# Those of a module that is itself imported in the nursery: what kinds of pictures PIL knows, each kind in a module.
_THEIRS: Final[dict[str, tuple[str, ...]]] = {
    "matplotlib.units": ("registry",),
    "PIL.Image": ("ID", "OPEN", "MIME", "SAVE", "SAVE_ALL", "EXTENSION", "DECODERS", "ENCODERS"),
}
# Every table that was seen, by its name; those of modules that are out of sight too.
_known: Final[dict[str, dict[Any, Any] | list[Any]]] = dict(_TABLES)


class Left(NamedTuple):
    """filters: of warnings, the last one added first. environ: variables, as bytes. threads: numbers that were given
    to threads without a name. entries: table, key and value. loggers: that were made. context: variables of the
    context, and their values.
    """

    filters: tuple[Any, ...]
    environ: tuple[tuple[bytes, bytes], ...]
    threads: int
    entries: tuple[tuple[str, Any, Any], ...]
    loggers: tuple[Any, ...]
    context: tuple[tuple[contextvars.ContextVar[Any], Any], ...]

    def without(self, others: list[Left]) -> Left:
        """What is not in one of the others."""
        filters = {id(item) for other in others for item in other.filters}
        environ = {pair for other in others for pair in other.environ}
        entries = {entry[:2] for other in others for entry in other.entries}
        made = {id(item) for other in others for item in other.loggers}
        context = {variable for other in others for variable, _ in other.context}
        return Left(
            tuple(item for item in self.filters if id(item) not in filters),
            tuple(pair for pair in self.environ if pair not in environ),
            max(0, self.threads - sum(other.threads for other in others)),
            tuple(entry for entry in self.entries if entry[:2] not in entries),
            tuple(item for item in self.loggers if id(item) not in made),
            tuple(pair for pair in self.context if pair[0] not in context),
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
        self.entries = {name: set(table) for name, table in _tables().items()}
        self.loggers = loggers.Scene()
        self.context = set(contextvars.copy_context())

    def left_since(self) -> Left:
        """What was added since then, without that which vanished."""
        known = set(map(id, self.filters))
        filters = tuple(item for item in warnings.filters if id(item) not in known)
        environ = tuple(pair for pair in _variables().items() if self.environ.get(pair[0]) != pair[1])
        entries = tuple(
            (name, key, value)
            for name, table in _tables().items()
            for key, value in _items(table)
            if key not in self.entries.get(name, ())
        )
        context = tuple(pair for pair in contextvars.copy_context().items() if pair[0] not in self.context)
        threads = _thread_number() - self.threads
        return Left(filters, environ, threads, entries, self.loggers.made_since(), context)

    def restore(self) -> None:
        """But for the environment, which is another one in each child anyway."""
        warnings.filters[:] = self.filters  # type: ignore[index]
        _filters_changed()
        threading._counter = itertools.count(self.threads).__next__  # type: ignore[attr-defined]
        for name, table in _tables().items():
            for key in set(table) - self.entries.get(name, set()):
                table.remove(key) if isinstance(table, list) else table.pop(key)
        self.loggers.restore()


def leave(left: Left) -> None:
    """Do to this process what the import did."""
    for item in reversed(left.filters):
        if item in warnings.filters:
            warnings.filters.remove(item)  # type: ignore[attr-defined]
        warnings.filters.insert(0, item)  # type: ignore[attr-defined]
    if left.filters:
        _filters_changed()
    for variable, text in left.environ:
        os.environ[os.fsdecode(variable)] = os.fsdecode(text)
    for _ in range(left.threads):
        threading._counter()  # type: ignore[attr-defined]
    for name, key, value in left.entries:
        if not isinstance(table := _known[name], list):
            table.setdefault(key, value)
        elif key not in table:
            table.append(key)
    loggers.put(left.loggers)
    for place, value in left.context:
        # decimal makes its own by what decimal.DefaultContext is by then.
        place.set(type(value)() if place.name == "decimal_context" else value)


def _tables() -> dict[str, dict[Any, Any] | list[Any]]:
    for module, names in _THEIRS.items():
        for name in names:
            table = getattr(sys.modules.get(module), name, None)
            if isinstance(table, dict | list):
                _known[f"{module}.{name}"] = table
    return _known


def _items(table: dict[Any, Any] | list[Any]) -> list[tuple[Any, Any]]:
    return [(item, None) for item in table] if isinstance(table, list) else list(table.items())


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
