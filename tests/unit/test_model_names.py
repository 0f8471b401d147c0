"""Which texts can be the name of a person, a group, a server or an environment."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, strategies

from manylab.base import names
from manylab.base.errors import BadName

NEVER = [
    "", " ", ".", "..", "...", "../x", "a/b", "/etc", "root; rm -rf /", "a\n", "\na", "a\0", "a:b", "a,b", "-x", " a",
    "a ", "a\tb", "a\x7f", "a\x1b[31m", "a\u200b", "a\u202eb", "a\u2028", "a\xa0b", "\ud800", "a" * 256, "王" * 86,
]  # fmt: skip
# What only the names of accounts and groups may have: the machine decides.
ODD = [
    "$(id)", "`id`", "a b", "Alice", "ALICE", "älice", "алиса", "张三", "a" * 40, "a@b.org", "EX\\alice", "a.b", "a%b",
    "a'b", 'a"b', "*", "~", "20231234", "2023a", "alice$", "a+b", "a;b", "%2e%2e", ".a", "a" * 255, "王" * 85, "_",
    "a.2eb",
]  # fmt: skip
PLAIN = ["alice", "_daemon", "a", "a" * 32, "jin-zhong_xu2", "www-data"]
OF_THE_MACHINE = [names.account, names.group]
KINDS = [*OF_THE_MACHINE, names.server, names.environment]
_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,32}")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("text", [*NEVER, None, 7, b"alice", ["alice"]], ids=repr)
def test_a_text_that_could_be_anything_but_a_name_is_refused(kind, text):
    if kind is names.server and text == "":  # the default server
        assert names.server(text) == ""
        return
    with pytest.raises(BadName) as refused:
        kind(text)
    assert refused.value.hint, "it says what a name looks like"
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("kind", [names.server, names.environment], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("text", [text for text in ODD if text not in ("2023a", "20231234")], ids=repr)
def test_names_that_manylab_makes_itself_are_plain(kind, text):
    with pytest.raises(BadName):
        kind(text)


@pytest.mark.parametrize("text", [*PLAIN, *ODD], ids=repr)
def test_what_a_machine_can_have_is_the_name_of_an_account(text):
    assert names.account(text) == names.group(text) == text


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_name_stands_for_itself_in_paths(text):
    assert names.folder(text) == text


@given(
    strategies.text(strategies.characters(exclude_characters="/:,"), min_size=1, max_size=90)
    | strategies.sampled_from(ODD)
)
@example("%2e%2e")
def test_any_account_has_one_folder_that_can_do_no_harm_and_leads_back_to_it(text):
    try:
        name = names.account(text)
    except BadName:
        assume(False)
    folder = names.folder(name)
    assert _SAFE.fullmatch(folder) and not folder.startswith("-") and folder.strip("."), folder
    assert names.account_of(folder) == name or ".-" in folder


@given(
    strategies.text("ab.-_e2ABé\\@", min_size=1, max_size=6), strategies.text("ab.-_e2ABé\\@", min_size=1, max_size=6)
)
def test_no_two_accounts_share_a_folder(one, other):
    try:
        folders = names.folder(one), names.folder(other)
    except BadName:
        assume(False)
    assert (folders[0] == folders[1]) == (one == other)


@given(strategies.text("abAB012._-", max_size=40))
def test_what_is_no_folder_of_an_account_leads_to_none(text):
    name = names.account_of(text)
    assert name is None or names.folder(name) == text


def test_names_that_are_too_long_for_a_folder_are_shortened_and_stay_apart():
    made = {names.folder(text) for text in ("a" * 33, "a" * 34, "a" * 33 + "b", "王" * 20, "王" * 21)}
    assert len(made) == 5 and all(len(folder) == 32 and names.account_of(folder) is None for folder in made)


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
