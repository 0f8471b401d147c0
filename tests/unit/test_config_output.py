"""What is made from the schema for others: the example, `config show`, JSON Schema; and the commands' answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manylab.base.errors import ConfigError
from manylab.cli import config_commands as commands
from manylab.config import walk
from manylab.config.example import example_toml
from manylab.config.hiding import visible
from manylab.config.json_schema import json_schema
from manylab.config.load import parse
from manylab.config.schema import Config
from manylab.config.values import toml
from manylab.model.hub import own_limits


def switched_on(text: str) -> str:
    """The example with every default written out."""
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in (" ", '"') else line for line in text.split("\n")
    )


def test_the_example_is_the_empty_configuration_explained():
    text = example_toml()
    assert parse(text) == Config()
    written = parse(switched_on(text))
    # Its tables of somebody's limits are there then, and say nothing.
    assert [own_limits(written.limits.groups), own_limits(written.limits.people)] == [{"students": {}}, {"alice": {}}]
    assert written.model_copy(update={"limits": Config().limits}) == Config()
    assert switched_on(text).count(" = ") > 30
    assert len(text.splitlines()) <= 200
    assert max(map(len, text.splitlines())) <= 120


def test_the_example_names_every_setting():
    lines = example_toml().splitlines()
    for setting in walk.settings():
        assert any(line.startswith(f"#{setting.path[-1]} = {toml(setting.default)}") for line in lines), setting.key


def test_every_setting_has_a_sentence_and_examples_that_are_accepted():
    for setting in walk.settings():
        assert setting.doc.rstrip().endswith("."), setting.key
        assert setting.since
        assert setting.words not in ("", "a value"), setting.key
        example = setting.default if setting.example is None else setting.example
        path = tuple("course" if part == walk.NAME else part for part in setting.path)
        text = f"[{walk.dotted(path[:-1])}]\n{path[-1]} = {toml(example)}\n"
        companions = {
            ("https", "certificate"): 'key = "/k.pem"\n',
            ("https", "key"): 'certificate = "/c.pem"\n',
            ("http", "address"): "insecure = true\n",
        }
        parse(text + companions.get(path, ""))


def test_every_section_has_its_line_in_chinese():
    for section in walk.sections():
        assert any("\u4e00" <= letter <= "\u9fff" for letter in section.zh), section.path


def test_json_schema_describes_every_setting_and_accepts_what_parse_accepts():
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    json.dumps(schema)
    for definition in schema["$defs"].values():
        for name, found in definition["properties"].items():
            assert found["description"], name
            assert "default" in found, name
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema)
    data = parse(
        '[servers]\nmemory = "2G"\ncpu = 1.5\ntasks = "none"\nidle_timeout = "1h"\n[envs.a]\npackages = ["x"]\n'
        '[jupyterhub]\n"A.b" = [1]'
    ).as_data()
    assert list(validator.iter_errors(data)) == []
    assert list(validator.iter_errors({})) == []
    for wrong in ({"x": 1}, {"http": {"port": 0}}, {"servers": {"memory": "2GB"}}, {"servers": {"idle_timeout": ""}}):
        assert list(validator.iter_errors(wrong)), wrong


def test_secrets_are_hidden_from_view():
    config = parse(
        '[hub]\ndb_url = "postgresql://u:hunter2@h/db"\n[mirrors]\nproxy = "http://u:hunter2@p:3128"\n'
        '[servers.environment]\nAPI_TOKEN = "hunter2"\nPLAIN = "seen"\n'
        '[jupyterhub]\n"GitHubOAuthenticator.client_secret" = "hunter2"\n"A.b" = { password = "hunter2", c = "seen" }'
    )
    text = json.dumps(visible(config.as_data()))
    assert "hunter2" not in text
    assert text.count("seen") == 2
    assert visible(Config().as_data()) == Config().as_data()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "manylab.toml"
    path.write_text('[servers]\nmemory = "2G"  # enough\n[hub]\ndb_url = "postgresql://u:hunter2@h/db"\n')
    return path


def test_show_lists_every_setting_and_marks_what_is_set(file):
    result = commands.show(file)
    assert 'servers.memory = "2G"  # set' in result.text
    assert 'site.name = "manylab"\n' in result.text
    assert "hunter2" not in result.text + json.dumps(result.data)
    for setting in walk.settings():
        # Nobody has limits of their own unless the file says so.
        assert setting.path[0] == "limits" or setting.key.replace(walk.NAME, "default") + " = " in result.text


def test_get_answers_with_the_bare_value(file):
    assert commands.get(file, "servers.memory").text == "2G"
    assert commands.get(file, "http.port").text == "8000"
    assert commands.get(file, "people.admins").data == {"key": "people.admins", "value": []}
    assert 'memory = "2G"' in commands.get(file, "servers").text


def test_set_writes_once_and_only_when_something_changes(file):
    written: list[tuple[Path, str]] = []

    def write(path: Path, text: str) -> None:
        written.append((path, text))

    assert commands.set_(file, "servers.memory", "3G", write).data["changed"]
    assert written == [(file, file.read_text().replace("2G", "3G"))]
    assert not commands.set_(file, "servers.memory", "2G", write).data["changed"]
    assert commands.unset(file, "servers.memory", write).data["changed"]
    with pytest.raises(ConfigError):
        commands.set_(file, "servers.memory", "2GB", write)
    assert len(written) == 2


def test_check_is_silent_about_a_good_file_and_lists_all_of_a_bad_one(file):
    assert commands.check(file).data["problems"] == []
    file.write_text("a = 1\nb = 2\n")
    with pytest.raises(ConfigError) as caught:
        commands.check(file)
    assert len(caught.value.data["problems"]) == 2
    assert f"{file}:2: b: " in caught.value.message


def test_no_file_is_as_good_as_an_empty_one(tmp_path):
    assert commands.get(tmp_path / "none.toml", "http.port").text == "8000"
    assert commands.check(tmp_path / "none.toml").status == 0
    assert "There is no" in commands.check(tmp_path / "none.toml").text


def test_schema_prints_json():
    assert json.loads(commands.schema().text) == json_schema()
