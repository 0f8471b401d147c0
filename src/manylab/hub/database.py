"""How the hub keeps its database: with SQLite each commit is an append, and no page waits for the disk; and what is in
memory already is not fetched again.

A person who signs in and starts a server makes a dozen commits. By SQLite's own defaults each waits for the disk three
or four times (a journal file is made, synced and removed), and while the hub waits nobody else is served. With a
write-ahead log nothing waits; after a power failure the database is whole and lacks, at most, its last moments, when
every server it could know of is gone as well (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import strategies


def keep_a_log() -> None:
    """For every database this process opens from now on. Others than SQLite are left alone."""
    if not event.contains(Engine, "connect", _connected):
        event.listen(Engine, "connect", _connected)


def _connected(connection: Any, _record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    # A file system that cannot do it (NFS) stays with what it had; SQLite answers which and raises nothing.
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=NORMAL").close()
    # What a hub that was killed left in the log: JupyterHub copies the main file, alone, before it upgrades it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def fetch_what_is_missing(loaders: Any = strategies) -> None:
    """Whoever is looked up and known to the session brings no roles, groups and shares along: it has them.

    JupyterHub looks people up by cookie, name or code at each request. Each time SQLAlchemy asks for the three again
    (lazy="selectin") and then throws the answer away, since it does not write over what is loaded: half of the hub's
    statements. What was not loaded, was expired, or is to be written over is fetched as ever.
    """
    loader = getattr(loaders, "_SelectInLoader", None)
    real = getattr(loader, "_load_for_path", None)
    # An SQLAlchemy that looks different is left alone.
    if loader is not None and real is not None and not hasattr(real, "__wrapped__"):
        loader._load_for_path = _missing_only(real)


def _missing_only(real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def load(self: Any, context: Any, path: Any, states: Any, *rest: Any, **more: Any) -> None:
        # (the state of an object, whether to write over what it has)
        missing = [(state, over) for state, over in states if over or self.key not in state.dict]
        if missing:
            real(self, context, path, missing, *rest, **more)

    return load


def ask_no_file(engine: Any) -> None:
    """JupyterHub asks the server of its database whether it is still there, before each of a dozen transactions for a
    person who signs in. A file of this machine is.
    """
    if engine.dialect.name != "sqlite":
        return
    for listener in tuple(engine.dispatch.engine_connect):
        if getattr(listener, "__qualname__", "").startswith("register_ping_connection."):
            event.remove(engine, "engine_connect", listener)
