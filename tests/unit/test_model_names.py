"""Which texts can be the name of a person, a group, a server or an environment."""

from __future__ import annotations

import pytest

from manylab.base import names
from manylab.base.errors import BadName

NEVER = [
    "", " ", ".", "..", "../x", "a/b", "/etc", "root; rm -rf /", "$(id)", "`id`", "a b", "a\n", "\na", "a\0", "a:b",
    "a,b", "-x", "Alice", "ALICE", "älice", "алиса", "王", "a" * 40, "a@b", "a.b", "a%b", "a\\b", "a'b", 'a"b', "*",
    "~", "1a\t", "a\u200b",
]  # fmt: skip
KINDS = [names.account, names.group, names.server, names.environment]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("text", NEVER, ids=repr)
def test_a_text_that_could_be_anything_but_a_name_is_refused(kind, text):
    if kind is names.server and text == "":  # the default server
        assert names.server(text) == ""
        return
    with pytest.raises(BadName) as refused:
        kind(text)
    assert refused.value.hint, "it says what a name looks like"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("text", ["alice", "_daemon", "a", "a" * 32, "jin-zhong_xu2", "www-data"])
def test_what_useradd_takes_is_a_name(text):
    assert names.account(text) == names.group(text) == text


@pytest.mark.parametrize("text", ["1alice", "a" * 33, "alice$", None, 7, b"alice", ["alice"]])
def test_what_useradd_refuses_is_refused(text):
    with pytest.raises(BadName):
        names.account(text)


@pytest.mark.parametrize("text", ["gpu", "a-b", "1", "a" * 30])
def test_what_jupyterhub_takes_as_a_named_server_is_one(text):
    assert names.server(text) == names.server_folder(text) == text


@pytest.mark.parametrize("text", ["a--b", "-a", "a-", "a_b", "_", "a" * 31])
def test_what_jupyterhub_refuses_as_a_named_server_is_refused(text):
    with pytest.raises(BadName):
        names.server(text)


def test_the_folder_of_the_default_server_can_be_nobody_s_named_server():
    assert names.server_folder("") == "_"
    with pytest.raises(BadName):
        names.server("_")


@pytest.mark.parametrize("text", ["default", "torch2", "a-b"])
def test_environments_have_plain_names(text):
    assert names.environment(text) == text


@pytest.mark.parametrize("text", ["2torch", "a_b", "-a", "a" * 31])
def test_names_that_cannot_be_an_environment_are_refused(text):
    with pytest.raises(BadName):
        names.environment(text)
