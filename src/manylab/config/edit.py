"""Changing manylab.toml as a person would: one value, with every comment where it was. Text in, text out; pure.

Each function checks its own result twice before returning it: that only the one value differs (tomllib reads both), and
that the whole is a configuration (`parse`). Raises ConfigError if it is not, NotFound if there is no such setting.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from manylab.base.errors import ConfigError, NotFound
from manylab.config import conda_packages, packages, walk
from manylab.config.load import parse
from manylab.config.positions import Positions, positions, split_key
from manylab.config.problems import suggestion
from manylab.config.values import toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Keys = tuple[str, ...]


def get(text: str, key: str) -> Any:
    """What a setting or table is, default or not, in the form of the file."""
    path = _path(key)
    value: Any = parse(text).as_data()
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            if path[0] == "envs":
                raise NotFound(f"there is no environment {path[1]}", hint="`manylab env list` says which there are")
            raise NotFound(f"{key} is not set", hint="`manylab config show` lists what is")
        value = value[part]
    return value


def set_value(text: str, key: str, value_text: str) -> str:
    """The text with a setting set. value_text is TOML if it can be, else the text itself: 4096, true, 2G, ["a"]."""
    path = _path(key)
    if not _settable(path):
        raise ConfigError(f"{key} is a table", hint="set one of its settings: " + suggestion((*path, "")))
    value = _value(value_text)
    try:
        return _changed(text, path, value)
    except ConfigError as refused:
        if isinstance(value, str):
            raise
        # 2024 is a fine name for a site, and a number only by accident.
        try:
            return _changed(text, path, value_text)
        except ConfigError as refused_as_text:
            raise (refused_as_text if "expected text" in refused.message else refused) from None


def unset(text: str, key: str) -> str:
    """The text without a setting or table: its default holds again. Unchanged if it was not set."""
    path = _written(_read(text), _path(key))
    if _at(_read(text), path) is None:
        return text
    return _checked(text, path, None, [_without_lines, _without_item])


def add_environment(text: str, name: str) -> str:
    """The text with a table [envs.NAME] in which everything is as by default; unchanged if there is one."""
    path = _path(walk.dotted(("envs", name)))
    return text if _at(_read(text), path) is not None else _checked(text, path, {}, [_with_table])


def add_to_list(text: str, key: str, item: str, *, beside: bool = False) -> str:
    """The text with one more element in a list, in place of (or `beside`) the package of the same name; unchanged if
    it is there.
    """
    path, items = _path(key), _list(text, key)
    if item in items:
        return text
    same = [old for old in items if _same(path, old, item) and not beside]
    return _changed(text, path, [item if old in same[:1] else old for old in items] + ([] if same else [item]))


def remove_from_list(text: str, key: str, item: str) -> str:
    """The text without an element of a list; packages are known by their names. Raises NotFound if it is not there."""
    path, items = _path(key), _list(text, key)
    left = [old for old in items if old != item and not _same(path, old, item)]
    if left == items:
        raise NotFound(f"{item} is not in {key}", hint="there is: " + (", ".join(items) or "nothing"))
    return _changed(text, path, left)


def _path(key: str) -> _Keys:
    """The path of a setting that exists; JupyterHub's may be written with or without quotes."""
    path = split_key(key)
    if path[0] == "jupyterhub":
        return (path[0], ".".join(path[1:])) if len(path) > 1 else path
    general = walk.general(path)
    known = {table[:length] for table in walk.tables() for length in range(1, len(table) + 1)}
    if general in known or walk.find(path) or _settable(path):
        return path
    raise NotFound(f"there is no setting {key}", hint=suggestion(path))


def _settable(path: _Keys) -> bool:
    """Whether the path is one value, and not a table of settings."""
    if walk.find(path) or (path[0] == "jupyterhub" and len(path) == 2):
        return True
    return path[:-1] == ("servers", "environment")


def _value(value_text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {value_text}")
    except ValueError:
        return value_text
    # A line break could smuggle in a second setting.
    return found["value"] if list(found) == ["value"] else value_text


def _list(text: str, key: str) -> list[str]:
    value = get(text, key)
    if not isinstance(value, list):
        raise NotFound(f"{key} is not a list", hint="set it with `manylab config set`")
    return value


def _same(path: _Keys, one: str, other: str) -> bool:
    return path[-1] in ("packages", "pip") and _package(one) == _package(other)


def _package(text: str) -> str:
    """The name that a requirement or a match spec is about."""
    return re.sub(r"[-_.]+", "-", conda_packages.name(packages.name(text)))


def _read(text: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):
        parse(text)  # says the same with line and advice
        raise
    return data


def _at(document: Any, path: _Keys) -> Any:
    for part in path:
        if not isinstance(document, Mapping) or part not in document:
            return None
        document = document[part]
    return document


def _written(document: dict[str, Any], path: _Keys) -> _Keys:
    """How this file writes a path: [jupyterhub.JupyterHub] x, or "JupyterHub.x"."""
    if path[0] == "jupyterhub" and len(path) == 2:
        nested = (path[0], *path[1].split(".", 1))
        return nested if _at(document, nested) is not None else path
    return path


def _changed(text: str, path: _Keys, value: Any) -> str:
    document = _read(text)
    path = _written(document, path)
    old = _at(document, path)
    if old == value and type(old) is type(value):
        _validated(text, text)
        return text
    if isinstance(old, list) and isinstance(value, list):
        return _checked(text, path, value, [_with_elements, _with_item])
    return _checked(text, path, value, [_with_item, _with_line] if old is not None else [_with_line, _with_item])


def _checked(text: str, path: _Keys, value: Any, ways: list[Any]) -> str:
    """The first way of editing after which exactly what was asked for is different."""
    wanted = copy.deepcopy(_read(text))
    _put(wanted, path, value)
    for way in ways:
        try:
            result: str = way(text, path, value)
            if _without_empty(tomllib.loads(result)) == _without_empty(wanted):
                return _validated(text, result)
        except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, IndexError):
            continue  # not every way fits every layout of a file
    raise ConfigError(f"{walk.dotted(path)} cannot be changed in the way this file is written", hint="edit it by hand")


def _validated(before: str, after: str) -> str:
    """The new text, if it is a configuration. What is new among its problems is about the value, not about a line."""
    try:
        parse(after)
    except ConfigError as failure:
        try:
            parse(before)
        except ConfigError as already:
            known = {(problem["key"], problem["message"]) for problem in already.data["problems"]}
        else:
            known = set()
        new = [problem for problem in failure.data["problems"] if (problem["key"], problem["message"]) not in known]
        if not new:
            raise
        sentences = [f"{problem['key']}: {problem['message']}" for problem in new]
        raise ConfigError("\n".join(sentences), hint=new[0]["hint"], problems=new) from None
    return after


def _put(document: dict[str, Any], path: _Keys, value: Any) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise ConfigError(f"{part} is not a table", hint="edit the file by hand")
    if value is None:
        document.pop(path[-1], None)
    else:
        document[path[-1]] = value


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    """Headers with nothing below them mean nothing, apart from an environment that is all defaults."""
    if isinstance(limits := document.get("limits"), Mapping):
        document = {**document, "limits": {key: value for key, value in limits.items() if value != {}}}
    return {key: value for key, value in document.items() if value != {}}


def _with_line(text: str, path: _Keys, value: Any) -> str:
    """A new line in the table: below its commented default, else below the last line of the table, else a new table."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.split("\n")
    where = positions(text)
    new = f"{walk.dotted(path[-1:])} = {toml(value)}"
    place = _place(lines, where, path)
    if place is None:
        header = f"[{walk.dotted(path[:-1])}]"
        return text.rstrip() + (newline * 2 if text.strip() else "") + header + newline + new + newline
    last = place == len(lines)
    if newline == "\r\n":
        lines[place - 1] = lines[place - 1].rstrip("\r") + "\r"
        new += "" if last else "\r"
    lines.insert(place, new)
    return "\n".join(lines) + (newline if last else "")


def _place(lines: list[str], where: Positions, path: _Keys) -> int | None:
    """The number of the line below which the setting belongs; None if its table has no header."""
    start = next((line for line, table in where.headers if table == path[:-1]), None)
    if start is None:
        return None
    end = next((line for line, _ in where.headers if line > start), len(lines) + 1)
    default = re.compile(rf"\s*#\s?{re.escape(path[-1])}\s*=")
    for number in range(start, end - 1):
        if default.match(lines[number]):
            return number + 1
    return max(where.ends.get(line, line) for line in where.statements if start <= line < end)


def _with_table(text: str, path: _Keys, value: Any) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    return text.rstrip() + (newline * 2 if text.strip() else "") + f"[{walk.dotted(path)}]" + newline


def _with_item(text: str, path: _Keys, value: Any) -> str:
    document = tomlkit.parse(text)
    table: Any = document
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    return tomlkit.dumps(document)


def _with_elements(text: str, path: _Keys, value: list[Any]) -> str:
    """Change the elements that differ, so that a list over several lines keeps its shape and comments."""
    document = tomlkit.parse(text)
    array: Any = document
    for part in path:
        array = array[part]
    for index in reversed(range(len(array))):
        if array[index] not in value and len(array) > len(value):
            del array[index]
    for index, item in enumerate(value):
        if index >= len(array):
            array.append(item)
        elif array[index] != item:
            array[index] = item
    return tomlkit.dumps(document)


def _without_item(text: str, path: _Keys, value: None) -> str:
    document = tomlkit.parse(text)
    table: Any = document
    for part in path[:-1]:
        table = table[part]
    table.remove(path[-1])
    return tomlkit.dumps(document)


def _without_lines(text: str, path: _Keys, value: None) -> str:
    lines = text.split("\n")
    where = positions(text)
    start = where.lines[path]
    del lines[start - 1 : where.ends[start]]
    return "\n".join(lines)
