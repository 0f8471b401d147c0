"""How the hub keeps its SQLite database: each commit is an append, and no page waits for the disk.

A person who signs in and starts a server makes a dozen commits. By SQLite's own defaults each waits for the disk three
or four times (a journal file is made, synced and removed), and while the hub waits nobody else is served. With a
write-ahead log nothing waits; after a power failure the database is whole and lacks, at most, its last moments, when
every server it could know of is gone as well (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


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
