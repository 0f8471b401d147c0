"""Remembers which accounts and groups manylab made: only those are removed by uninstall."""

from __future__ import annotations

import json

from manylab.base.layout import Layout
from manylab.model.resources import Directory
from manylab.system.files import make_directory, write_file


def read(layout: Layout) -> tuple[str, ...]:
    """Keys of resources ("group manylab"), in the order in which they were made."""
    try:
        return tuple(json.loads(layout.made_json.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()


def remember(layout: Layout, key: str) -> None:
    """Written before the thing is made: a crash in between leaves a note about nothing rather than an orphan."""
    known = read(layout)
    if key not in known:
        make_directory(Directory(layout.state))
        write_file(layout.made_json, json.dumps([*known, key]) + "\n", 0o644)
