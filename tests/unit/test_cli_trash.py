"""`manylab trash`: what is shown of names that are no text, and what is removed."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from manylab.cli import result, trash_commands
from manylab.lab.trash import Trash

NAMES = [os.fsdecode(b"latin-\xe9"), "esc\x1b[2J\x9b2J\x7f", "two\nlines", "表 ü 😀.txt"]


@pytest.fixture
def can(tmp_path: Path, monkeypatch) -> Trash:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in NAMES:
        (tmp_path / name).write_text(name, errors="surrogateescape")
        Trash(tmp_path).put(tmp_path / name)
    return Trash(tmp_path)


def outcome(command: Any, **arguments: Any) -> result.Result:
    """What a command returns, before it is printed."""
    found: result.Result = command.__wrapped__(**arguments)
    return found


def printed(monkeypatch, what: result.Result, encoding: str, *, as_json: bool) -> str:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, write_through=True))
    result.show(what, as_json=as_json)
    return out.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_listing_has_every_name_and_nothing_that_a_terminal_obeys(can, monkeypatch, encoding):
    listing = outcome(trash_commands.list_)
    text = printed(monkeypatch, listing, encoding, as_json=False)
    assert len(text.splitlines()) == 1 + len(NAMES)
    assert text.replace("\n", "").isprintable()
    data = printed(monkeypatch, listing, encoding, as_json=True)
    assert data.replace("\n", "").isprintable()
    assert {item["name"] for item in json.loads(data)["items"]} == set(NAMES)


def test_a_name_is_also_what_the_list_shows(can, tmp_path):
    for name, shown in zip(NAMES, ("latin-�", "esc�[2J�2J�", "two�lines", NAMES[3]), strict=True):
        found = outcome(trash_commands.restore, name=shown)
        assert found.data["path"] == str(tmp_path / name)
        assert found.text.isprintable()
    assert can.items() == []


def test_what_is_removed_is_said(can, monkeypatch):
    (can.files / "of a desktop").write_text("x")
    asked: list[str] = []
    monkeypatch.setattr(trash_commands.typer, "confirm", lambda text, **_: asked.append(text))
    assert outcome(trash_commands.empty).data == {"removed": 0}
    assert "5 items" in asked[0]
    assert "of a desktop" in asked[0]
    assert asked[0].isprintable()
    assert outcome(trash_commands.empty, yes=True).data == {"removed": 5}
    assert can.items() == []
