"""The hub's database and the disk."""

import sqlite3

import pytest

pytest.importorskip("sqlalchemy")
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

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


@pytest.fixture
def hub_database(tmp_path):
    """A session of JupyterHub's own, with alice in it, and the statements that it sends."""
    orm, roles = pytest.importorskip("jupyterhub.orm"), pytest.importorskip("jupyterhub.roles")
    database.keep_a_log()
    database.fetch_what_is_missing()
    session = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")()
    for role in roles.get_default_roles():
        roles.create_role(session, role)
    alice = orm.User(name="alice")
    session.add(alice)
    roles.assign_default_roles(session, entity=alice)
    session.commit()
    said = []

    def listen(_connection, _cursor, statement, *_more):
        said.append(" ".join(statement.split()))

    event.listen(session.get_bind(), "before_cursor_execute", listen)
    yield orm, session, said
    session.close()
    session.get_bind().dispose()


def test_who_is_known_is_looked_up_in_one_statement(hub_database):
    orm, session, said = hub_database
    alice = orm.User.find(session, "alice")
    said.clear()
    assert orm.User.find(session, "alice") is alice
    assert [statement.partition(" WHERE ")[0].rpartition(" ")[2] for statement in said] == ["users"]
    assert [role.name for role in alice.roles] == ["user"]


def test_who_is_new_comes_with_roles_groups_and_shares(hub_database):
    orm, session, said = hub_database
    session.expunge_all()
    said.clear()
    alice = orm.User.find(session, "alice")
    fetched = len(said)
    assert fetched >= 4
    assert ([role.name for role in alice.roles], alice.groups, alice.shared_with_me) == (["user"], [], [])
    assert len(said) == fetched


def test_what_was_expired_is_fetched_again(hub_database):
    orm, session, _said = hub_database
    alice = orm.User.find(session, "alice")
    with session.get_bind().begin() as other:
        other.execute(text("DELETE FROM user_role_map"))
    session.expire(alice, ["roles"])
    assert orm.User.find(session, "alice").roles == []


def test_a_file_is_not_asked_whether_it_is_still_there(hub_database):
    orm, session, said = hub_database
    session.commit()
    orm.User.find(session, "alice")
    assert "SELECT 1" in said
    database.ask_no_file(session.get_bind())
    session.commit()
    said.clear()
    orm.User.find(session, "alice")
    assert "SELECT 1" not in said


@pytest.fixture
def session(tmp_path):
    """The hub's one connection, to a database with a table."""
    database.keep_a_log()
    engine = create_engine(f"sqlite:///{tmp_path}/hub.sqlite")
    with Session(engine) as made:
        made.execute(text("CREATE TABLE people (name TEXT, notes TEXT)"))
        made.commit()
        yield made
    engine.dispose()


def write(session: Session) -> None:
    session.execute(text("INSERT INTO people VALUES ('alice', :notes)"), {"notes": "x" * 3000})
    session.commit()


def test_there_is_room_in_the_files_for_a_day_on_which_the_disk_is_full(session, tmp_path):
    files = [tmp_path / "hub.sqlite", tmp_path / "hub.sqlite-wal"]
    database.keep_room(session)
    sizes = [file.stat().st_size for file in files]
    assert min(sizes) >= database.ROOM
    # As on a full disk: no page more than there is. Most of it is written more than once, as tokens come and go.
    session.execute(text(f"PRAGMA max_page_count = {sizes[0] // 4096}"))
    for number in range(3000):
        write(session)
        if number % 1000 == 999:
            session.execute(text("DELETE FROM people"))
            session.commit()
    assert [file.stat().st_size for file in files] == sizes
    database.keep_room(session)
    assert [file.stat().st_size for file in files] == sizes


def test_without_room_people_read_that_the_disk_is_full_and_the_hub_starts_all_the_same(session, tmp_path):
    pages = (tmp_path / "hub.sqlite").stat().st_size // 4096
    session.execute(text(f"PRAGMA max_page_count = {max(1, pages)}"))
    database.keep_room(session)
    with pytest.raises(OperationalError) as caught:
        for _ in range(10):
            write(session)
    session.rollback()
    assert "disk of this machine is full" in caught.value.jupyterhub_message
    assert session.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'manylab_room'")).scalar() == 0
