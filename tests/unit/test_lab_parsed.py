"""Files that servers read once: the answers are those that they would have come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from manylab.lab import parsed

NAME = "@manylab/one:plugin"


class NotThere(Exception):
    """JupyterLab answers 404."""


def read(schemas_dir, schema_name, overrides, labextensions_path=None):
    """As jupyterlab_server 2 does it; tests/machine compares warm servers with cold ones, which use its own."""
    try:
        package, plugin = schema_name.split(":")
    except ValueError:
        raise NotThere(schema_name) from None
    for folder in labextensions_path or ():
        if (Path(folder) / package / "schemas" / package / f"{plugin}.json").exists():
            schemas_dir = f"{folder}/{package}/schemas"
            break
    file = Path(schemas_dir) / package / f"{plugin}.json"
    if not file.exists():
        raise NotThere(schema_name)
    schema = json.loads(file.read_text())
    for key, value in overrides.get(schema_name, {}).items():
        schema["properties"][key]["default"] = value
    return schema, json.loads((file.parent / "package.json.orig").read_text())["version"]


def write(path, title: str, version: str = "1.2.3") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = {"title": title, "type": "object", "properties": {"colour": {"type": "string", "default": "red"}}}
    path.write_text(json.dumps(schema))
    (path.parent / "package.json.orig").write_text(json.dumps({"version": version}))


@pytest.fixture
def lab(tmp_path):
    """Folders of schemas: JupyterLab's own, two of extensions."""
    write(tmp_path / "schemas/@manylab/one/plugin.json", "of the Lab")
    asked = []

    def real(*arguments, **more):
        asked.append(arguments)
        return read(*arguments, **more)

    return tmp_path, parsed.KnownSchemaFiles(real), asked


def test_a_schema_is_read_once_and_says_what_it_said(lab):
    folder, known, asked = lab
    said = [known(str(folder / "schemas"), NAME, {}, None) for _ in range(3)]
    assert said == [read(str(folder / "schemas"), NAME, {}, None)] * 3
    assert len(asked) == 1


def test_a_schema_that_has_changed_is_read_anew(lab):
    folder, known, _ = lab
    known(str(folder / "schemas"), NAME, {}, None)
    write(folder / "schemas/@manylab/one/plugin.json", "of the new Lab", "2.0.0")
    schema, version = known(str(folder / "schemas"), NAME, {}, None)
    assert (schema["title"], version) == ("of the new Lab", "2.0.0")


def test_one_that_is_gone_is_not_found(lab):
    folder, known, _ = lab
    known(str(folder / "schemas"), NAME, {}, None)
    (folder / "schemas/@manylab/one/plugin.json").unlink()
    with pytest.raises(NotThere):
        known(str(folder / "schemas"), NAME, {}, None)


def test_what_becomes_of_one_answer_is_not_in_the_next(lab):
    folder, known, _ = lab
    schema, _ = known(str(folder / "schemas"), NAME, {}, None)
    for _ in range(2):
        schema["properties"]["colour"]["title"] = "颜色"
        schema, _ = known(str(folder / "schemas"), NAME, {}, None)
        assert "title" not in schema["properties"]["colour"]


def test_what_a_site_sets_anew_is_worked_out_anew(lab):
    folder, known, asked = lab
    for colour in ("green", "blue"):
        known(str(folder / "schemas"), NAME, {}, None)
        schema, _ = known(str(folder / "schemas"), NAME, {NAME: {"colour": colour}}, None)
        assert schema["properties"]["colour"]["default"] == colour
    assert known(str(folder / "schemas"), NAME, {}, None)[0]["properties"]["colour"]["default"] == "red"
    assert len(asked) == 3


@pytest.mark.parametrize("name", ["@manylab/one:plugin", "plain:plugin"])
def test_an_extension_has_the_first_word_as_with_jupyterlab(lab, name):
    folder, known, _ = lab
    package, _, plugin = name.partition(":")
    extensions = [str(folder / "a"), str(folder / "b")]
    places = [folder / "schemas" / package, *(folder / each / package / "schemas" / package for each in "ba")]
    for place in places:
        write(place / f"{plugin}.json", str(place))
        for _ in range(2):
            found = known(str(folder / "schemas"), name, {}, extensions)
            assert found == read(str(folder / "schemas"), name, {}, extensions)
            assert found[0]["title"] == str(place)


@pytest.mark.parametrize("name", ["nothing", "a:b:c", "@manylab/one:missing"])
def test_a_wrong_name_fails_as_with_jupyterlab(lab, name):
    folder, known, _ = lab
    with pytest.raises(NotThere):
        known(str(folder / "schemas"), name, {}, [str(folder / "a")])


def test_a_template_is_compiled_once_by_all_that_decides_what_becomes_of_it(monkeypatch):
    compiled = []
    real = Environment.compile
    monkeypatch.setattr(Environment, "compile", lambda self, *more: compiled.append(1) or real(self, *more))
    make = parsed.KnowingEnvironment(Environment)

    def page(text: str, **options) -> str:
        return make(loader=DictLoader({"index.html": text}), **options).get_template("index.html").render(name="<b>")

    for _ in range(3):
        assert page("Hello {{ name }}", autoescape=True) == "Hello &lt;b&gt;"
    assert len(compiled) == 1
    assert page("Hello {{ name }}", autoescape=False) == "Hello <b>"
    assert page("Bye {{ name }}", autoescape=True) == "Bye &lt;b&gt;"
    assert len(compiled) == 3
