"""Loggers that modules make when they are imported: not there before, as in a new interpreter, and the same ones then.

A cell that configures logging before it imports matplotlib would otherwise find matplotlib's loggers, and switch them
off (`disable_existing_loggers`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from typing import Any


class Scene:
    """Which loggers there are."""

    def __init__(self) -> None:
        self._there = dict(logging.root.manager.loggerDict)

    def made_since(self) -> tuple[logging.Logger, ...]:
        """Those that were made since then, in their order."""
        return tuple(
            found
            for name, found in list(logging.root.manager.loggerDict.items())
            if isinstance(found, logging.Logger) and self._there.get(name) is not found
        )

    def restore(self) -> None:
        """Have only those that were there."""
        table: Any = logging.root.manager.loggerDict
        table.clear()
        table.update(self._there)
        for found in self._there.values():
            if isinstance(found, logging.PlaceHolder):
                for child in [child for child in found.loggerMap if table.get(child.name) is not child]:
                    del found.loggerMap[child]


def put(made: Iterable[logging.Logger]) -> None:
    """Have these as well. One that a cell has asked for by its name in the meantime becomes one with it: what is set in
    either is set in both.
    """
    for logger in made:
        with logging._lock:  # type: ignore[attr-defined]
            _put(logging.root.manager, logger)


def _put(manager: Any, logger: Any) -> None:
    there = manager.loggerDict.get(logger.name)
    if isinstance(there, logging.Logger):
        with contextlib.suppress(TypeError):  # a class of their own that is laid out differently
            logger.__class__ = there.__class__
        logger.__dict__ = there.__dict__
        return
    wanted = manager.loggerClass or logging.getLoggerClass()
    if wanted is not type(logger):
        # A class of their own, set before the import, makes them.
        with contextlib.suppress(Exception):
            made = wanted(logger.name)
            logger.__class__ = wanted
            logger.__dict__ = {**vars(made), "manager": manager}
    manager.loggerDict[logger.name] = logger
    logger._cache.clear()
    if there is not None:
        manager._fixupChildren(there, logger)
    manager._fixupParents(logger)
