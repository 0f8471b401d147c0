"""What servers do not work out anew: the answers are those that they would have come to."""

from __future__ import annotations

import warnings

import pytest
from jsonschema import ValidationError
from jupyter_events import validators
from traitlets import Unicode
from traitlets.config import Application

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
