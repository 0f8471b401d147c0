"""The warden's vocabulary: what is a message and what is not."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manylab.warden import messages
from manylab.warden.messages import (
    Authenticate,
    BadMessage,
    List,
    Message,
    Refusal,
    Start,
    Status,
    Stop,
    StopAll,
    parse,
)


def line(**question: object) -> bytes:
    return json.dumps(question).encode() + b"\n"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"do": "list"}, List()),
        ({"do": "stop-all"}, StopAll()),
        ({"do": "status", "user": "alice", "server": ""}, Status("alice", "")),
        ({"do": "stop", "user": "alice", "server": "a-b", "now": True}, Stop("alice", "a-b", True)),
        ({"do": "authenticate", "user": "A lice@corp", "password": "爱"}, Authenticate("A lice@corp", "爱")),
        ({"do": "authenticate", "user": "", "password": ""}, Authenticate("", "")),
        (
            {
                "do": "start",
                "user": "alice",
                "server": "",
                "env": {"JUPYTERHUB_API_TOKEN": "t", "LC_ALL": "C", "TZ": ""},
            },
            Start("alice", "", {"JUPYTERHUB_API_TOKEN": "t", "LC_ALL": "C", "TZ": ""}),
        ),
    ],
)
def test_each_question_of_the_contract_is_a_message(question, message):
    assert parse(line(**question)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null",
        b"[]",
        b"1",
        b'"list"',
        b"{}",
        b"\xff\xfe",
        b'{"do":"list"',
        b'{"do":null}',
        b'{"do":["list"]}',
        b'{"do":"List"}',
        b'{"do":"exec"}',
        b'{"do":"list","user":"alice"}',
        b'{"do":"list","do":"stop-all"}',
        b'{"do":"status","user":"alice"}',
        b'{"do":"status","user":"alice","server":null}',
        b'{"do":"status","user":"-alice","server":""}',
        b'{"do":"status","user":"a/../b","server":""}',
        b'{"do":"status","user":["alice"],"server":""}',
        b'{"do":"status","user":"alice","server":"../x"}',
        b'{"do":"stop","user":"alice","server":"","now":1}',
        b'{"do":"stop","user":"alice","server":"","now":"true"}',
        b'{"do":"authenticate","user":"alice","password":1}',
        b'{"do":"authenticate","user":"alice","password":"a\\u0000b"}',
        b'{"do":"authenticate","user":"alice","password":"\\ud800"}',
        b'{"do":"authenticate","user":"\\u0000","password":""}',
        b'{"do":"start","user":"alice","server":"","env":[]}',
        b'{"do":"start","user":"alice","server":"","env":{"PATH":"/"}}',
        b'{"do":"start","user":"alice","server":"","env":{"TZ":"a","TZ":"b"}}',
        b"[" * 60_000,
        b"1" * 60_000,
        b" " * 70_000,
    ],
)
def test_anything_else_is_a_bad_message(data):
    with pytest.raises(BadMessage):
        parse(data)


# The first texts of a fresh machine are slow: hypothesis builds its table of characters.
fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@fuzz
@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(data):
    with pytest.raises(BadMessage):
        parse(data)


values = st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.lists(st.text(max_size=3), max_size=2)
values |= st.dictionaries(st.sampled_from(["TZ", "LANG", "PATH", "JUPYTERHUB_X"]), st.text(max_size=5), max_size=2)


@fuzz
@given(
    st.dictionaries(st.sampled_from(["user", "server", "env", "now", "password"]), values),
    st.sampled_from(list(messages._KINDS)),
)
def test_any_fields_make_a_message_with_checked_fields_or_a_bad_message(given_fields, do):
    try:
        message = parse(line(do=do, **given_fields))
    except BadMessage as bad:
        assert bad.reason == "bad-message"
        return
    assert {f.name for f in fields(message)} == set(given_fields)
    assert isinstance(message, Message)


def test_the_environment_has_a_limit_for_all_of_it_together():
    many = {f"JUPYTERHUB_X{number}": "x" * 1000 for number in range(40)}
    with pytest.raises(BadMessage, match="larger"):
        Start("alice", "", many)
    Start("alice", "", dict(list(many.items())[:30]))


def test_nothing_secret_is_in_the_text_of_a_message_or_of_a_refusal():
    assert "hunter2" not in repr(Authenticate("alice", "hunter2"))
    assert "hunter2" not in repr(Start("alice", "", {"JUPYTERHUB_API_TOKEN": "hunter2"}))
    for data in (b'{"do":"hunter2"}', b'{"do":"list","hunter2":1}', b'{"do":"authenticate","user":"a","hunter2":"x"}'):
        with pytest.raises(BadMessage) as caught:
            parse(data)
        assert "hunter2" not in str(caught.value)


def test_an_answer_is_one_line_of_ascii():
    assert messages.encode(messages.done(user="alice")) == b'{"ok": true, "user": "alice"}\n'
    answer = messages.encode(messages.refused(Refusal("wrong", "line\nand 爱")))
    assert answer.count(b"\n") == 1 and answer.isascii()
