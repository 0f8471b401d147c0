"""What servers do not work out anew: the answers are those that they would have come to."""

from __future__ import annotations

import types
import warnings
from types import SimpleNamespace

import pytest
from jsonschema import ValidationError
from jupyter_events import schema as events
from jupyter_events import validators
from traitlets import HasTraits, Unicode
from traitlets.config import Application, Config

from manylab.lab import unasked

GOOD = {"$id": "https://example.org/one", "version": "1", "title": "One", "type": "object", "properties": {}}


class App(Application):
    name = "app"
    colour = Unicode("red", config=True)


def state(app: Application) -> tuple[object, ...]:
    return app.argv, app.extra_args, app.cli_config, app.config, getattr(app, "colour", None)


def test_an_empty_command_line_leaves_what_it_leaves_with_traitlets_own():
    ours, theirs = App(colour="blue"), App(colour="blue")
    unasked.parse_command_line(ours, [])
    Application.parse_command_line(theirs, [])
    assert state(ours) == state(theirs)


def test_a_command_line_that_says_something_is_heard():
    app = App()
    unasked.parse_command_line(app, ["--App.colour=green", "more"])
    assert (app.colour, app.extra_args) == ("green", ["more"])


def test_a_schema_is_examined_once_and_a_wrong_one_each_time():
    examined = []

    def real(schema):
        examined.append(schema["$id"])
        validators.validate_schema(schema)

    ours = unasked.KnownEvents(real)
    for _ in range(3):
        ours(dict(GOOD))
    assert examined == [GOOD["$id"]]
    for _ in range(2):
        with pytest.raises(ValidationError):
            ours({**GOOD, "properties": {"__hidden": {"type": "string"}}})
    assert len(examined) == 3


def test_a_schema_that_is_mended_warns_each_time():
    ours = unasked.KnownEvents(validators.validate_schema)
    for _ in range(2):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ours({**GOOD, "version": 1})
        assert len(said) == 1


class More(App):
    size = Unicode("small", config=True)
    weight = Unicode("light")


def known_traits(monkeypatch) -> list[type]:
    """Puts KnownSettings in place; the classes whose traits were really looked at."""
    real = HasTraits.traits
    looked: list[type] = []

    def traits(instance, **metadata):
        looked.append(type(instance))
        return real(instance, **metadata)

    monkeypatch.setattr(HasTraits, "traits", unasked.KnownSettings(traits))
    return looked


def test_a_class_has_the_settings_that_it_has(monkeypatch):
    theirs = [cls().traits(config=True) for cls in (App, More, App)]
    looked = known_traits(monkeypatch)
    assert [cls().traits(config=True) for cls in (App, More, App)] == theirs
    assert "weight" in More().traits() and "weight" not in More().traits(config=True)
    More().traits(config=True).clear()
    assert More().traits(config=True) == theirs[1]
    assert looked.count(App) == 1


def test_an_object_that_is_given_a_setting_has_it(monkeypatch):
    known_traits(monkeypatch)
    app = App()
    app.traits(config=True)
    app.add_traits(taste=Unicode("sweet").tag(config=True))
    assert "taste" in app.traits(config=True)
    assert "taste" not in App().traits(config=True)
    app.update_config(Config({"App": {"taste": "sour"}}))
    assert app.taste == "sour"


def test_yaml_is_read_once_and_each_answer_is_its_own(tmp_path):
    real = events.yaml if isinstance(events.yaml, types.ModuleType) else events.yaml._real
    read = []

    def loads(text):
        read.append(text)
        return real.loads(text)

    known = unasked.KnownYaml(SimpleNamespace(loads=loads))
    file = tmp_path / "schema.yaml"
    file.write_text("title: One\nproperties:\n  day: {type: string}\n")
    for _ in range(3):
        said = known.load(file)
        assert said == real.load(file)
        said["properties"].clear()
    assert len(read) == 1
    dated = "day: 2026-11-26\n"
    assert known.loads(dated) == known.loads(dated) == real.loads(dated)
    with pytest.raises(Exception, match="while parsing"):
        known.loads("a: [")
