"""`config set` and its kin change one value and nothing else in a file that people write comments into."""

from __future__ import annotations

import difflib

import pytest

from manylab.base.errors import ConfigError, NotFound
from manylab.config import edit
from manylab.config.example import example_toml
from manylab.config.load import parse

FILE = """\
# Our lab
[site]
name = "Physics"   # as on the door

[servers]
# for the small machine
memory = "1G"
environment = { OMP_NUM_THREADS = "2" }

[people]
admins = [
    "alice",  # since 2020
    "bob",
]

[envs.default]
packages = ["scientific", "polars>=1"]
"""


def difference(before: str, after: str) -> list[str]:
    """The lines that a change takes away and brings."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def changed(key: str, value: str, text: str = FILE) -> list[str]:
    return difference(text, edit.set_value(text, key, value))


def test_a_value_is_replaced_and_its_comment_stays():
    assert changed("site.name", "Chemistry") == [
        '- name = "Physics"   # as on the door',
        '+ name = "Chemistry"   # as on the door',
    ]
    assert changed("servers.memory", "2G") == ['- memory = "1G"', '+ memory = "2G"']


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("servers.cpu", "2", "cpu = 2"),
        ("servers.named", "true", "named = true"),
        ("servers.idle_timeout", "1h", 'idle_timeout = "1h"'),
        ("servers.idle_timeout", '"1h"', 'idle_timeout = "1h"'),
        ("site.language", "zh_CN", 'language = "zh_CN"'),
        ("envs.default.preload", '["numpy"]', 'preload = ["numpy"]'),
    ],
)
def test_a_new_value_is_one_new_line_in_its_table(key, value, line):
    assert changed(key, value) == [f"+ {line}"]


def test_a_new_table_comes_at_the_end():
    assert changed("http.port", "8001") == ["+ ", "+ [http]", "+ port = 8001"]
    assert edit.set_value("", "http.port", "8001") == "[http]\nport = 8001\n"
    assert edit.set_value("[envs.a]", "envs.a.python", "==3.12") == '[envs.a]\npython = "==3.12"\n'


def test_in_the_example_a_value_comes_below_its_default():
    text = example_toml()
    lines = edit.set_value(text, "servers.memory", "2G").splitlines()
    at = lines.index('memory = "2G"')
    assert lines[at - 1].startswith('#memory = "none"')
    for key, value in (("hub.db_url", "sqlite:////x"), ("mirrors.pypi", "https://m/simple"), ("people.group", "users")):
        [line] = changed(key, value, text)
        assert line == f'+ {key.split(".")[-1]} = "{value}"'


def test_text_that_looks_like_a_number_is_text_where_text_belongs():
    assert edit.get(edit.set_value(FILE, "site.name", "2024"), "site.name") == "2024"
    assert edit.get(edit.set_value(FILE, "servers.environment.YEAR", "2024"), "servers.environment.YEAR") == "2024"


def test_no_second_setting_can_be_smuggled_in():
    with pytest.raises(ConfigError):
        edit.set_value(FILE, "servers.cpu", "1\nnamed = true")
    with pytest.raises(ConfigError):
        edit.set_value(FILE, "site.name", "a\n[http]\ninsecure = true")


def test_a_wrong_value_is_refused_with_its_reason_and_no_line():
    with pytest.raises(ConfigError) as caught:
        edit.set_value(FILE, "servers.memory", "2GB")
    assert caught.value.message == 'servers.memory: "2GB" is not a size'
    assert '"2G"' in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        edit.set_value(FILE, "envs.default.python", "3.12")
    assert caught.value.hint == 'did you mean "==3.12.*"?'
    with pytest.raises(ConfigError, match="others can reach"):
        edit.set_value(FILE, "http.address", "0.0.0.0")


def test_an_unknown_setting_is_not_found_and_one_is_suggested():
    for function in (edit.get, edit.unset, lambda text, key: edit.set_value(text, key, "1")):
        with pytest.raises(NotFound) as caught:
            function(FILE, "servers.memmory")
        assert "did you mean servers.memory?" in caught.value.hint
    for key in ("", ".", "a..b", "a b", "servers.memory = 1", "[x]", "servers.memory.x", "envs.default.packages.x"):
        with pytest.raises((NotFound, ConfigError)):
            edit.set_value(FILE, key, "1")


def test_a_table_cannot_be_set_as_a_whole():
    with pytest.raises(ConfigError, match="is a table"):
        edit.set_value(FILE, "servers", "{}")


def test_a_wrong_file_can_be_put_right_one_value_at_a_time():
    text = '[servers]\nmemory = "2GB"\n'
    assert parse(edit.set_value(text, "servers.memory", "2G")).servers.memory == 2**31
    with pytest.raises(ConfigError, match="not a size"):
        edit.set_value(text, "servers.cpu", "2")
    with pytest.raises(ConfigError, match="not TOML"):
        edit.set_value("[servers\n", "servers.cpu", "2")


def test_settings_of_jupyterhub_are_written_by_their_own_name():
    key = 'jupyterhub."JupyterHub.concurrent_spawn_limit"'
    text = edit.set_value(FILE, key, "50")
    assert text.endswith('\n[jupyterhub]\n"JupyterHub.concurrent_spawn_limit" = 50\n')
    assert edit.get(text, "jupyterhub.JupyterHub.concurrent_spawn_limit") == 50
    assert edit.unset(text, key).endswith("[jupyterhub]\n")
    nested = "[jupyterhub.JupyterHub]\nconcurrent_spawn_limit = 5  # few\n"
    assert edit.set_value(nested, key, "6") == "[jupyterhub.JupyterHub]\nconcurrent_spawn_limit = 6  # few\n"
    with pytest.raises(ConfigError, match="decided by another setting"):
        edit.set_value(FILE, "jupyterhub.JupyterHub.authenticator_class", "dummy")


@pytest.mark.parametrize(
    "text",
    [
        "servers.memory = '1G'\n",
        "servers = { memory = '1G' }\n",
        "[servers]\nmemory = '1G'",
        "[servers]\r\nmemory = '1G'\r\n",
        "[site]\nname = 'x'\n[servers]\n# nothing yet\n\n[http]\nport = 1\n",
        "[servers.environment]\nA = 'b'\n",
        "[servers.environment]\nA = 'b'\n[servers]\nmemory = '1G'\n",
    ],
)
def test_every_way_of_writing_a_table_can_be_edited(text):
    after = edit.set_value(text, "servers.cpu", "2")
    assert parse(after).servers == parse(text).servers.model_copy(update={"cpu": 2.0})
    assert set(text.splitlines()) <= set(after.splitlines()) or text.startswith("servers = {")
    assert ("\r" in text) == ("\r" in after)
    assert after.count("\r") in (0, after.count("\n"))
    assert parse(edit.unset(after, "servers.cpu")) == parse(text)


def test_unset_brings_the_default_back():
    assert difference(FILE, edit.unset(FILE, "servers.memory")) == ['- memory = "1G"']
    assert edit.unset(FILE, "http.port") == FILE
    assert "admins" not in edit.unset(FILE, "people.admins")
    assert parse(edit.unset(FILE, "envs.default")) == parse(FILE.split("[envs")[0])
    assert edit.get(edit.unset(FILE, "servers.environment.OMP_NUM_THREADS"), "servers.environment") == {}


def test_lists_grow_and_shrink_with_their_comments():
    text = edit.add_to_list(FILE, "people.admins", "carol")
    assert difference(FILE, text) == ['+     "carol",']
    assert edit.add_to_list(text, "people.admins", "carol") == text
    assert difference(FILE, edit.remove_from_list(FILE, "people.admins", "bob")) == ['-     "bob",']
    assert "# since 2020" in edit.remove_from_list(text, "people.admins", "bob")
    assert edit.get(edit.remove_from_list(text, "people.admins", "alice"), "people.admins") == ["bob", "carol"]
    with pytest.raises(NotFound):
        edit.remove_from_list(FILE, "people.admins", "dave")
    with pytest.raises(ConfigError):
        edit.add_to_list(FILE, "people.admins", "../x")
    with pytest.raises(NotFound):
        edit.add_to_list(FILE, "people.group", "x")


def test_packages_are_known_by_their_names():
    key = "envs.default.packages"
    assert edit.get(edit.add_to_list(FILE, key, "Polars<2"), key) == ["scientific", "Polars<2"]
    assert edit.get(edit.remove_from_list(FILE, key, "polars"), key) == ["scientific"]
    assert edit.get(edit.add_to_list("", key, "jax"), key) == ["scientific", "jax"]
    with pytest.raises(NotFound, match="no environment"):
        edit.add_to_list(FILE, "envs.course.packages", "jax")


def test_an_environment_can_be_added_with_everything_by_default():
    text = edit.add_environment(FILE, "course")
    assert text == FILE + "\n[envs.course]\n"
    assert edit.add_environment(text, "course") == text
    with pytest.raises(ConfigError):
        edit.add_environment(FILE, "hub")


def test_get_answers_in_the_form_of_the_file():
    assert edit.get(FILE, "servers.memory") == "1G"
    assert edit.get("", "servers.start_timeout") == "2m"
    assert edit.get(FILE, "servers.environment") == {"OMP_NUM_THREADS": "2"}
    assert edit.get(FILE, "envs")["default"]["packages"] == ["scientific", "polars>=1"]
    with pytest.raises(NotFound):
        edit.get(FILE, "envs.course.python")
