"""How many tokens people may ask the hub for, and how long their notes are."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from types import SimpleNamespace
from unittest import mock

import pytest

pytest.importorskip("jupyterhub")
from jupyterhub import orm, roles, scopes
from jupyterhub.apihandlers.users import UserTokenListAPIHandler
from tornado.web import HTTPError

from manylab.hub import app, tokens


@pytest.fixture
def people(tmp_path):
    """A database of JupyterHub's with alice and bob in it."""
    session = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")()
    for role in roles.get_default_roles():
        roles.create_role(session, role)
    session.add(orm.OAuthClient(identifier="jupyterhub"))
    session.add(orm.OAuthClient(identifier="jupyterhub-user-alice", allowed_scopes=["inherit"]))
    for name in ("alice", "bob"):
        user = orm.User(name=name)
        session.add(user)
        roles.assign_default_roles(session, entity=user)
    session.commit()
    yield SimpleNamespace(db=session, alice=orm.User.find(session, "alice"), bob=orm.User.find(session, "bob"))
    session.close()
    session.get_bind().dispose()


def have(people, user, number, **more):
    """As `APIToken.new` makes them, without a commit for each."""
    for each in range(number):
        token = orm.APIToken(**{"client_id": "jupyterhub", "hashed": f"{user.name}{each}{more}", "prefix": "x", **more})
        token.user = user
        people.db.add(token)
    people.db.commit()


def test_a_person_may_have_so_many_and_that_is_nothing_to_others(people):
    have(people, people.alice, tokens.MOST - 1)
    assert tokens.has_room(people.db, people.alice.id)
    have(people, people.alice, 1, note="one more")
    assert not tokens.has_room(people.db, people.alice.id)
    assert tokens.has_room(people.db, people.bob.id)


def test_expired_ones_do_not_count_and_are_deleted(people):
    now = orm.APIToken.now()
    have(people, people.alice, tokens.MOST - 5, expires_at=now + timedelta(hours=1))
    have(people, people.alice, 20, expires_at=now - timedelta(hours=1))
    have(people, people.bob, 1, expires_at=now - timedelta(hours=1))
    assert len(people.alice.api_tokens) == tokens.MOST + 15
    assert tokens.has_room(people.db, people.alice.id)
    assert len(people.alice.api_tokens) == tokens.MOST - 5
    assert len(people.bob.api_tokens) == 1


def test_what_the_hub_makes_for_servers_does_not_count(people):
    have(people, people.alice, tokens.MOST, client_id="jupyterhub-user-alice")
    for name in ("", "two"):
        people.db.add(orm.Spawner(user=people.alice, name=name, server=orm.Server()))
    people.db.add(orm.Spawner(user=people.alice, name="stopped"))
    people.db.commit()
    have(people, people.alice, 2, note="Server at /user/alice/")
    have(people, people.alice, tokens.MOST - 1)
    assert tokens.has_room(people.db, people.alice.id)
    have(people, people.alice, 1, note="the last")
    assert not tokens.has_room(people.db, people.alice.id)


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, {"note": None}, {"note": "x" * tokens.NOTE},
        {"note": "\N{GRINNING FACE}" * tokens.NOTE, "scopes": ["inherit"], "expires_in": 5},
    ],
)  # fmt: skip
def test_an_ordinary_request_is_left_to_jupyterhub(body):
    assert tokens.unfit(body) == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"note": "x" * (tokens.NOTE + 1)}, "at most 200 characters, and this has 201"),
        ({"note": ["x"] * 1000}, "is text"),
        ({"note": {"x": "x"}}, "is text"),
        ({"scopes": ["inherit"] * 1000}, "scopes"),
        ({"scopes": ["access:servers!server=alice/" + "x" * 9000]}, "scopes"),
    ],
)
def test_what_would_fill_the_disk_is_refused(body, says):
    assert says in tokens.unfit(body)


def handler(people, body):
    """The handler of a request that alice, who is signed in, has sent."""
    request = mock.Mock(method="POST", headers={}, uri="/hub/api/users/alice/tokens", body=json.dumps(body).encode())
    application = mock.Mock(ui_methods={}, ui_modules={})
    application.settings = {
        "db": people.db, "hub": SimpleNamespace(base_url="/hub/"), "token_expires_in_max_seconds": 0,
    }  # fmt: skip
    made = tokens.FewTokensHandler(application, request)
    made._jupyterhub_user = people.alice
    made.parsed_scopes = scopes.parse_scopes({"tokens!user=alice"})
    made._resolve_roles_and_scopes = made.check_xsrf_cookie = lambda: None
    made.find_user = lambda name: orm.User.find(people.db, name)
    return made


def ask(people, body, name="alice"):
    """The status of the answer, and what it says."""
    asked = handler(people, body)
    try:
        asyncio.run(asked.post(name))
    except HTTPError as error:
        return error.status_code, error.log_message
    return asked.get_status(), json.loads(b"".join(asked._write_buffer)).get("note")


def test_jupyterhub_asks_before_it_makes_a_token(people):
    have(people, people.alice, tokens.MOST - 1)
    assert ask(people, {"note": "x" * 250_000})[0] == 400
    assert ask(people, {"note": "mine"}) == (201, "mine")
    status, says = ask(people, {"note": "mine"})
    assert status == 409
    assert "revoke some at /hub/token" in says
    assert len(people.alice.api_tokens) == tokens.MOST


def test_nobody_learns_how_many_somebody_else_has(people):
    have(people, people.bob, tokens.MOST)
    assert ask(people, {}, "bob")[0] == 403


def test_it_stands_in_the_place_of_jupyterhubs_own():
    from jupyterhub.apihandlers import default_handlers

    assert [path for path, found in default_handlers if found is UserTokenListAPIHandler] == [
        r"/api/users/([^/]+)/tokens"
    ]
    assert app.IN_PLACE_OF[UserTokenListAPIHandler] is tokens.FewTokensHandler
