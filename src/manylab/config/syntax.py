"""Reading TOML that may be wrong: as much of it as can be understood, and what is wrong with the rest. Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

from manylab.config.positions import Positions, positions
from manylab.config.problems import Problem
from manylab.config.walk import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TWICE = re.compile(r"Cannot (?:overwrite|declare)")
# Whoever has more lines than this to correct has not written TOML; a long text is read once, for time's sake.
_MOST = 50
_LONG = 100_000
_SIMPLE_KEY = re.compile(r"\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")


@dataclass
class Reading:
    """What could be understood of a text.

    document: what it says, or None if nothing can be said.
    where: the lines of its keys.
    taken: paths of the lines that were taken out; None if one of them has no readable key.
    problems: what is no TOML.
    """

    where: Positions
    document: dict[str, Any] | None = None
    taken: set[Path] | None = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def readable(text: str) -> Reading:
    """What the text says, apart from lines that are no TOML.

    A wrong line of its own is reported, taken out, and the rest is read again, so that one typo does not hide the
    others. A wrong table header or an unclosed list would misplace the lines after it: there the reading ends.
    """
    lines = text.split("\n")
    reading = Reading(positions(text))
    most = _MOST if len(text) < _LONG else 1
    while len(reading.problems) < most:
        current = "\n".join(lines)
        reading.where = positions(current)
        try:
            reading.document = tomllib.loads(current)
            return reading
        except RecursionError:
            reading.problems.append(Problem(1, "", "lists or tables are nested too deeply"))
            return reading
        except tomllib.TOMLDecodeError as error:
            number = _explain(reading, lines, str(error))
        except ValueError:  # int() refuses thousands of digits
            reading.problems.append(Problem(1, "", "a number has too many digits"))
            return reading
        if number is None:
            return reading
        lines[number - 1] = ""
    return reading


def _explain(reading: Reading, lines: list[str], error: str) -> int | None:
    """Note the problem; returns the line that can be taken out, or None if the rest makes no sense without it."""
    at = _AT_LINE.search(error)
    number = min(int(at[1]), len(lines)) if at else len(lines)
    start = reading.where.statement(number)
    if at is None:
        message = f"not closed before the end of the file: {_words(error)}"
        reading.problems.append(Problem(start, "", message, "close the quotes or brackets that begin here"))
        return None
    line = lines[number - 1]
    hint = "this name is there already; keep one of the two" if _TWICE.match(error) else _syntax_hint(line)
    if start != number:
        hint = hint or f"a text, list or table that begins in line {start} may not be closed"
    reading.problems.append(Problem(number, "", f"not TOML at column {at[2]}: {_words(error)}", hint))
    if start != number or line.lstrip().startswith("[") or not line.strip():
        return None
    key = _SIMPLE_KEY.match(line)
    if reading.taken is not None and key:
        reading.taken.add((*reading.where.table(number), *(part.strip() for part in key[1].split("."))))
    else:
        reading.taken = None
    return number


def _words(error: str) -> str:
    text = _AT_LINE.sub("", error).removesuffix(" (at end of document)")
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
