"""`manylab config show | get | set | unset | check | schema`: what each answers; the command line wires them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manylab.apply.packages import unknown_environment
from manylab.base.errors import NotFound
from manylab.cli.result import Result
from manylab.config import edit, load, walk
from manylab.config.hiding import visible
from manylab.config.json_schema import json_schema
from manylab.config.positions import split_key
from manylab.config.schema import Config
from manylab.config.table import COUNTS
from manylab.config.values import toml


def show(config_file: Path) -> Result:
    """Every setting with its value, secrets hidden; what differs from the default stands out."""
    data = visible(load.parse(_text(config_file), str(config_file)).as_data())
    defaults = dict(_flat(Config().as_data()))
    lines = []
    for path, value in _flat(data):
        note = "" if path in defaults and defaults[path] == value else "  # set"
        lines.append(f"{walk.dotted(path)} = {toml(value)}{note}")
    return Result(data=data, text="\n".join(lines))


def get(config_file: Path, key: str) -> Result:
    """One setting or table, secrets included: whoever can read the file may know."""
    value = edit.get(_text(config_file), key)
    return Result(data={"key": key, "value": value}, text=value if isinstance(value, str) else _lines(value))


def set_(config_file: Path, key: str, value: str, write: Callable[[Path, str], None]) -> Result:
    """Set one setting; `write` puts the new text in the file's place, and is not called when nothing is different."""
    before = _text(config_file)
    table, *names = split_key(key)[:2]
    if table == "envs" and names and names[0] not in (known := load.parse(before).envs):
        raise unknown_environment(names[0], known)  # perhaps misspelt: a new one is asked for by `env create`
    after = edit.set_value(before, key, value)
    return _written(config_file, key, before, after, write)


def unset(config_file: Path, key: str, write: Callable[[Path, str], None]) -> Result:
    """Let a setting have its default again."""
    before = _text(config_file)
    return _written(config_file, key, before, edit.unset(before, key), write)


def check(config_file: Path) -> Result:
    """Whether the file is a configuration; ConfigError lists what is wrong."""
    try:
        load.load(config_file)
        text = f"{config_file} is in order."
    except NotFound:
        text = f"There is no {config_file}: every setting has its default."
    return Result(data={"file": str(config_file), "problems": []}, text=text)


def schema() -> Result:
    """JSON Schema of the file."""
    found = json_schema()
    return Result(data=found, text=json.dumps(found, indent=2, ensure_ascii=False))


def _text(config_file: Path) -> str:
    """The file's text; no file is as good as an empty one."""
    try:
        return load.read(config_file)
    except NotFound:
        return ""


def _written(config_file: Path, key: str, before: str, after: str, write: Callable[[Path, str], None]) -> Result:
    changed = after != before
    if changed:
        write(config_file, after)
    counts = COUNTS[walk.counts(split_key(key))]
    data = {"key": key, "changed": changed, "file": str(config_file), "counts": counts}
    text = f"Changed {key}; `manylab apply` makes it so. It counts {counts}."
    return Result(data=data, text=text if changed else f"{key} is so already.")


def _flat(data: Mapping[str, Any], outer: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value with its path; the free tables' values are their entries, and an empty one is itself."""
    for key, value in data.items():
        path = (*outer, key)
        if isinstance(value, Mapping) and value and path[:1] + path[2:] != ("jupyterhub",):
            yield from _flat(value, path)
        elif path != ("jupyterhub",):
            yield path, value


def _lines(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{walk.dotted(path)} = {toml(item)}" for path, item in _flat(value))
    return toml(value)
