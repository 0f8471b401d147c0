"""Signing in through the warden, with a warden made of a function."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterhub")
pytest.importorskip("manylab.system.warden_client")

from tornado import web

from manylab.base.errors import WardenUnavailable
from manylab.hub.authenticator import WardenAuthenticator
from manylab.hub.membership import Standing
from manylab.system import warden_client as client

CHINESE = SimpleNamespace(request=SimpleNamespace(headers={"Accept-Language": "zh-CN"}))
PASSWORD = "correct horse"


@pytest.fixture
def warden(monkeypatch):
    """Tests set `.answer`; `.asked` is what was asked."""
    state = SimpleNamespace(answer={"ok": True, "user": "alice"}, asked=[])

    async def ask(path, question, timeout):
        state.asked.append(question)
        if state.answer is None:
            raise WardenUnavailable("nobody there")
        return state.answer

    monkeypatch.setattr(client, "ask", ask)
    return state


def sign_in(name, handler=None, standing=Standing.MEMBER):
    authenticator = WardenAuthenticator(keep_case=True, allow_all=True)
    authenticator._members = SimpleNamespace(standing=lambda name: asyncio.sleep(0, standing))
    data = {"username": name, "password": PASSWORD}
    return asyncio.run(authenticator.get_authenticated_user(handler, data))


def test_the_name_is_what_the_warden_answers(warden):
    assert sign_in("alice")["name"] == "alice"
    assert warden.asked == [{"do": "authenticate", "user": "alice", "password": PASSWORD}]


@pytest.mark.parametrize("name", ["Alice", "20231234", "a@b.org", "EX\\alice", "张三", "x" * 33])
def test_a_name_that_a_machine_can_have_is_asked_for_as_it_was_typed(warden, name):
    warden.answer = {"ok": True, "user": name}
    assert sign_in(name)["name"] == name
    assert warden.asked == [{"do": "authenticate", "user": name, "password": PASSWORD}]


def test_the_hub_calls_a_person_as_the_machine_spells_it(warden):
    warden.answer = {"ok": True, "user": "alice"}
    assert sign_in("ALICE")["name"] == "alice"


@pytest.mark.parametrize("name", ["-alice", "alice ", "a/../b", "..", "", "a:b", "x" * 256, "alice\n"])
def test_what_can_be_no_accounts_name_is_refused_and_not_changed_into_one(warden, name):
    with pytest.raises(web.HTTPError) as caught:
        sign_in(name)
    assert caught.value.status_code == 403
    assert warden.asked == []


@pytest.mark.parametrize(("reason", "status"), [("wrong", 403), ("not-member", 403), ("busy", 429), ("error", 503)])
def test_a_refusal_is_a_sentence_in_the_persons_language(warden, reason, status):
    warden.answer = {"ok": False, "reason": reason, "message": "for the log"}
    with pytest.raises(web.HTTPError) as caught:
        sign_in("alice", CHINESE)
    assert caught.value.status_code == status
    assert "请" in caught.value.get_message() or "密码" in caught.value.get_message()


def test_without_a_warden_nobody_gets_in_and_it_is_said(warden):
    warden.answer = None
    with pytest.raises(web.HTTPError) as caught:
        sign_in("alice")
    assert caught.value.status_code == 503


@pytest.mark.parametrize("standing", [Standing.LEFT, Standing.GONE, Standing.UNKNOWN])
def test_the_hub_looks_at_membership_too(warden, standing):
    with pytest.raises(web.HTTPError):
        sign_in("alice", standing=standing)


def test_the_password_is_never_logged(warden, caplog):
    caplog.set_level(logging.DEBUG)
    for answer in (None, {"ok": False, "reason": "wrong"}, {"ok": False, "reason": "not-member"}):
        warden.answer = answer
        with pytest.raises(web.HTTPError):
            sign_in("alice")
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("standing", "fresh"),
    [(Standing.MEMBER, True), (Standing.UNKNOWN, True), (Standing.LEFT, False), (Standing.GONE, False)],
)
def test_a_session_lasts_as_long_as_the_membership(standing, fresh):
    authenticator = WardenAuthenticator()
    authenticator._members = SimpleNamespace(standing=lambda name: asyncio.sleep(0, standing))
    user = SimpleNamespace(name="alice", admin=False)
    assert asyncio.run(authenticator.refresh_user(user)) is fresh


def test_the_admin_flag_of_an_older_database_is_taken_away():
    authenticator = WardenAuthenticator()
    authenticator._members = SimpleNamespace(standing=lambda name: asyncio.sleep(0, Standing.MEMBER))
    user = SimpleNamespace(name="alice", admin=True)
    assert asyncio.run(authenticator.refresh_user(user)) == {"name": "alice", "admin": False}


def test_a_site_with_a_language_speaks_it_to_everybody():
    assert WardenAuthenticator(site_language="en").reader(CHINESE) == "en"
    assert WardenAuthenticator(site_language="zh_CN").reader(None) == "zh-CN"
    assert WardenAuthenticator().reader(CHINESE) == "zh-CN"
