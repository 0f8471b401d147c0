"""The hub's database and the disk."""

import sqlite3

import pytest

pytest.importorskip("sqlalchemy")
from sqlalchemy import create_engine, text

from manylab.hub import database


def test_sqlite_appends_to_a_log_and_syncs_at_checkpoints_only(tmp_path):
    database.keep_a_log()
    database.keep_a_log()
    engine = create_engine(f"sqlite:///{tmp_path}/hub.sqlite")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 1  # NORMAL
    engine.dispose()


def test_what_a_killed_hub_left_in_the_log_is_in_the_file_that_is_copied(tmp_path):
    database.keep_a_log()
    file = tmp_path / "hub.sqlite"
    killed = create_engine(f"sqlite:///{file}")
    with killed.begin() as connection:
        connection.execute(text("CREATE TABLE people (name TEXT)"))
        connection.execute(text("INSERT INTO people VALUES ('alice')"))
    # As a kill leaves it: never closed.
    again = create_engine(f"sqlite:///{file}")
    again.connect().close()
    copied = tmp_path / "copy.sqlite"
    copied.write_bytes(file.read_bytes())
    with sqlite3.connect(copied) as copy:
        assert copy.execute("SELECT name FROM people").fetchall() == [("alice",)]
    killed.dispose()
    again.dispose()
