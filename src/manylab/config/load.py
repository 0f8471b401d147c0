"""manylab.toml -> Config, or one error that lists every problem with its line."""

from __future__ import annotations

import os
import stat
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from manylab.base.errors import ConfigError, NotFound
from manylab.config import checks, walk
from manylab.config.positions import Positions
from manylab.config.problems import Problem, explain, refusal
from manylab.config.schema import Config
from manylab.config.syntax import readable
from manylab.config.walk import Path

# Ten thousand times the example; beyond it somebody has named the wrong file.
LARGEST = 1024 * 1024
# More is not read by anybody, and each takes a search for what was meant.
_MOST = 200


def load(path: FilePath) -> Config:
    """The configuration in a file.

    Raises NotFound if there is no such file, ConfigError if it cannot be read or anything in it is wrong.
    """
    return parse(read(path), str(path))


def read(path: FilePath) -> str:
    """The text of a configuration file, whatever editor it comes from. Raises as `load` does."""
    try:
        # O_NONBLOCK: a named pipe must not keep us waiting before it is refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unreadable(path, "is not an ordinary file", "name the file itself, manylab.toml")
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", hint="`manylab up` writes one with all settings explained") from None
    except IsADirectoryError:
        raise _unreadable(path, "is a folder", "name the file itself, manylab.toml") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}", "look at its owner and mode") from None
    if len(content) > LARGEST:
        raise _unreadable(path, "is larger than 1 MB", "this is not a configuration of manylab")
    return decode(content, str(path))


def decode(content: bytes, source: str = "manylab.toml") -> str:
    """Bytes as text: UTF-8, with or without a byte order mark. Raises ConfigError."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refusal([Problem(1, "", "the file is UTF-16, not UTF-8", "save it as UTF-8")], source)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"the file is not UTF-8 (byte {content[error.start]:#04x})"
        raise refusal([Problem(line, "", message, "save it as UTF-8")], source) from None


def parse(text: str, source: str = "manylab.toml") -> Config:
    """The configuration in a text. Raises ConfigError with every problem in `data["problems"]`."""
    text = text.removeprefix("\ufeff")
    reading = readable(text)
    if reading.document is None:
        raise refusal(reading.problems, source)
    config, wrong, problems = _validated(reading.document, reading.where)
    problems += reading.problems
    if config is not None and reading.taken is not None:
        unknown = wrong | reading.taken
        for finding in checks.findings(config):
            if not unknown.intersection((finding.path, *finding.needs)):
                problems.append(_problem(reading.where, finding.path, finding.message, finding.hint))
    if problems or config is None:
        raise refusal(problems, source)
    return config


def _validated(document: dict[str, Any], where: Positions) -> tuple[Config | None, set[Path], list[Problem]]:
    """The configuration without its wrong keys (so that the rest can be judged), those keys, and what is wrong."""
    wrong: set[Path] = set()
    problems: list[Problem] = []
    # Each round takes out what was wrong, and a wrong key can hide another one only a few levels deep.
    for _ in range(10):
        try:
            return Config.model_validate(document), wrong, problems
        except ValidationError as failure:
            errors = failure.errors(include_url=False)
            for error in errors[:_MOST]:
                path, message, hint = explain(error)
                problems.append(_problem(where, path, message, hint))
                wrong |= _remove(document, path)
            if len(errors) > _MOST:
                problems.append(Problem(problems[-1].line, "", f"and {len(errors) - _MOST} more problems"))
                return None, wrong, problems
    return None, wrong, problems


def _remove(document: dict[str, Any], path: Path) -> set[Path]:
    """Take a key out of the document, or the setting whose list has a wrong element; returns the void paths."""
    if path[0] == "jupyterhub" and len(path) > 1:
        class_name, _, trait = str(path[1]).partition(".")
        flat, nested = document["jupyterhub"], document["jupyterhub"].get(class_name)
        if path[1] in flat:
            del flat[path[1]]
        elif isinstance(nested, dict):
            nested.pop(trait, None)
        return {path[:2]}
    table: Any = document
    for depth, part in enumerate(path):
        inner = table.get(part)
        if depth == len(path) - 1 or not isinstance(inner, dict):
            table.pop(part, None)
            declared = (setting.path for setting in walk.settings())
            gone = path[: depth + 1]
            return {path, gone, *(other for other in declared if other[: len(gone)] == gone)}
        table = inner
    return {path}


def _problem(where: Positions, path: Path, message: str, hint: str) -> Problem:
    """A problem with its line: that of the key, also when one element of its list is wrong."""
    if path[:1] == ("jupyterhub",) and len(path) > 1 and path[:2] not in where.lines:
        # Written as [jupyterhub.Class] trait = ..., known by its dotted name.
        line = where.line(("jupyterhub", *str(path[1]).split(".", 1), *path[2:]))
    else:
        line = where.line(path[: next((i for i, part in enumerate(path) if isinstance(part, int)), len(path))])
    return Problem(line, walk.dotted(path), message, hint)


def _unreadable(path: FilePath, what: str, hint: str) -> ConfigError:
    return refusal([Problem(1, "", f"the file {what}", hint)], str(path))
