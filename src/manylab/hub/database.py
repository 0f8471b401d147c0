"""How the hub keeps its database: with SQLite each commit is an append, and no page waits for the disk; and what is in
memory already is not fetched again.

A person who signs in and starts a server makes a dozen commits. By SQLite's own defaults each waits for the disk three
or four times (a journal file is made, synced and removed), and while the hub waits nobody else is served. With a
write-ahead log nothing waits; after a power failure the database is whole and lacks, at most, its last moments, when
every server it could know of is gone as well (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous).

A disk that people have filled must not end their sessions: JupyterHub takes somebody whose last activity it cannot
write down for a stranger, and a server whose end it cannot write down stays "pending stop". So there is room in the
files beforehand.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import strategies

from manylab.hub import sentences

# Bytes in the database and as many in its log, written and free. The log is begun anew after 4 MB (SQLite's own 1000
# pages), so it never needs more; in the database that is some ten thousand tokens.
ROOM: Final = 6 << 20


def keep_a_log() -> None:
    """For every database this process opens from now on. Others than SQLite are left alone."""
    if not event.contains(Engine, "connect", _connected):
        event.listen(Engine, "connect", _connected)
        event.listen(Engine, "handle_error", _failed)


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


def keep_room(session: Any) -> None:
    """Fill the log and the database, and free that again inside of them. Does what it can: the disk may be full now."""
    connection = session.connection().connection.driver_connection
    if not isinstance(connection, sqlite3.Connection):
        return
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS manylab_room (zeros BLOB)").close()
        connection.execute("INSERT INTO manylab_room VALUES (zeroblob(?))", (ROOM,)).close()
        connection.commit()
        # From the log into the database; the log keeps its size.
        connection.execute("PRAGMA wal_checkpoint(RESTART)").close()
        connection.execute("DROP TABLE manylab_room").close()
        connection.commit()
    except sqlite3.Error:
        connection.rollback()


def _failed(context: Any) -> None:
    """What people read on the page of this error, where JupyterHub would say "Internal Server Error"."""
    full = isinstance(context.original_exception, sqlite3.Error) and "disk is full" in str(context.original_exception)
    if full and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.jupyterhub_message = sentences.both("machine-full")
