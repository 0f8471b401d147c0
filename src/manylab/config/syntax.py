"""Reading TOML that may be wrong: as much of it as can be understood, and what is wrong with the rest. Pure."""

from __future__ import annotations

import re
import sys
from typing import Any

from manylab.config.positions import positions
from manylab.config.problems import Problem
from manylab.config.walk import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_SIMPLE_KEY = re.compile(r"\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")


def readable(text: str) -> tuple[dict[str, Any] | None, set[Path] | None, list[Problem]]:
    """What the text says, apart from lines that are no TOML.

    A wrong line of its own is reported, taken out, and the rest is read again, so that one typo does not hide the
    others. A wrong table header or an unclosed list would misplace the lines after it: there the reading ends.

    Returns (document or None, paths of the lines taken out or None if one has no readable key, problems).
    """
    lines = text.split("\n")
    problems: list[Problem] = []
    taken: set[Path] | None = set()
    while True:
        current = "\n".join(lines)
        try:
            return tomllib.loads(current), taken, problems
        except RecursionError:
            return None, None, [*problems, Problem(1, "", "lists or tables are nested too deeply")]
        except ValueError as error:  # TOMLDecodeError, and int() on a number of thousands of digits
            at = _AT_LINE.search(str(error))
            words = _words(error)
        where = positions(current)
        number = min(int(at[1]), len(lines)) if at else len(lines)
        start = where.statement(number)
        line = lines[number - 1]
        if not at:
            problems.append(Problem(start, "", f"not closed before the end of the file: {words}"))
            return None, None, problems
        hint = _syntax_hint(line)
        if start != number:
            hint = hint or f"a text, list or table that begins in line {start} may not be closed"
        message = f"not TOML at column {at[2]}: {words}"
        problems.append(Problem(number, "", message, hint))
        if start != number or line.lstrip().startswith("[") or not line.strip() or len(problems) >= 50:
            return None, None, problems
        key = _SIMPLE_KEY.match(line)
        if taken is not None and key:
            taken.add((*where.table(number), *(part.strip() for part in key[1].split("."))))
        else:
            taken = None
        lines[number - 1] = ""


def _words(error: Exception) -> str:
    text = _AT_LINE.sub("", str(error)).removesuffix(" (at end of document)")
    return text[:1].lower() + text[1:].split("\n")[0][:120]


def _syntax_hint(line: str) -> str:
    """What is usually meant by a line that is no TOML."""
    _, equals, value = line.partition("=")
    value = value.partition("#")[0].strip()
    if any(mark in line for mark in "\u201c\u201d\u2018\u2019\uff1d\u300c\u300d"):
        return """use the plain marks = and " instead of typographic or full-width ones"""
    if equals and not value:
        return 'give it a value, or remove the line; empty text is ""'
    if value in ("True", "False", "TRUE", "FALSE"):
        return f"write {value.lower()}"
    if equals and re.fullmatch(r"[A-Za-z0-9_./~:-]+", value):
        return f'text needs quotes: "{value}"'
    if value.startswith('"') and "\\" in value:
        return "a backslash in text is written twice"
    if not equals and not line.lstrip().startswith("["):
        return "a setting is written: name = value"
    return ""
