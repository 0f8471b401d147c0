"""In which line of a TOML text each key stands.

tomllib says what a text means and not where. This scanner says where and not what: it follows the grammar's outline
(tables, dotted and quoted keys, values that nest) and trusts tomllib to have refused what is not TOML. In a text that
tomllib refuses, it goes as far as it can. Lines count from 1.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field

from manylab.base.errors import NotFound

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BASIC = re.compile(r'"(?:\\.|[^"\\\n])*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_BASIC_LONG = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}(?!")', re.DOTALL)
_LITERAL_LONG = re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL)
_PLAIN = re.compile(r"[^,\]\}#\r\n]+")
# Deeper nesting than anything a person writes; keeps the recursion below Python's limit.
_DEEPEST = 50


@dataclass
class Positions:
    """Where things stand.

    lines: path of a key -> its line; elements of lists and arrays of tables have numbers in their paths.
    statements: the lines in which a table header or a `key = value` begins, in order.
    ends: the line in which a statement begins -> the line in which it ends.
    headers: line and path of every table header, in order.
    """

    lines: dict[Path, int] = field(default_factory=dict)
    statements: list[int] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    headers: list[tuple[int, Path]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the key, else of the closest thing around it that is written down; 1 when nothing is."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1

    def table(self, line: int) -> Path:
        """The table that a line belongs to."""
        return next((path for start, path in reversed(self.headers) if start <= line), ())

    def statement(self, line: int) -> int:
        """The line in which the statement begins that this line is part of."""
        return max((start for start in self.statements if start <= line), default=line)


class _Stuck(Exception):
    """The text is not TOML from here on."""


def positions(text: str) -> Positions:
    scanner = _Scanner(text)
    # tomllib says what is wrong with a text; what was found before that place is still true.
    with contextlib.suppress(_Stuck, IndexError):
        scanner.document()
    return scanner.found


def split_key(key: str) -> tuple[str, ...]:
    """A dotted key in its parts: jupyterhub."JupyterHub.port" -> two of them. Raises NotFound if it is no key."""
    scanner = _Scanner(key)
    try:
        parts = scanner.key()
    except (_Stuck, IndexError):
        parts = []
    if not parts or scanner.at != len(key):
        raise NotFound(f"{key!r:.80} is not the name of a setting", hint="write table.name, as in servers.memory")
    return tuple(parts)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found = Positions()
        self._tables: dict[Path, int] = {}
        self._counted_to = 0
        self._line = 1

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            line = self._here()
            self.found.statements.append(line)
            if self.text[self.at] == "[":
                table = self._header(line)
            else:
                self._pair(table, 0)
            self._skip(_SPACE)
            if self.at < len(self.text) and self.text[self.at] not in "#\r\n":
                raise _Stuck
            self.found.ends[line] = self._here()
            self._skip(_BLANK)

    def _here(self) -> int:
        """The line at the current place; counts on from the last time it was asked."""
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Stuck
        self.at = match.end()
        return match[0]

    def _expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise _Stuck
        self.at += len(mark)

    def _header(self, line: int) -> Path:
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        *outer, last = self.key()
        self._expect("]]" if many else "]")
        path: Path = ()
        for part in outer:
            path = self._in_last((*path, part))
            self.found.lines.setdefault(path, line)
        path = (*path, last)
        if many:
            self.found.lines.setdefault(path, line)
            self._tables[path] = self._tables.get(path, -1) + 1
        path = self._in_last(path)
        self.found.lines[path] = line
        self.found.headers.append((line, path))
        return path

    def _in_last(self, path: Path) -> Path:
        return (*path, self._tables[path]) if path in self._tables else path

    def key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            mark = self.text[self.at]
            if mark == '"':
                parts.append(unquoted(self._skip(_BASIC)))
            elif mark == "'":
                parts.append(self._skip(_LITERAL)[1:-1])
            else:
                parts.append(self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _pair(self, table: Path, depth: int) -> None:
        line = self._here()
        path = table
        for part in self.key():
            path = (*path, part)
            self.found.lines.setdefault(path, line)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path, depth)

    def _value(self, path: Path, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Stuck
        rest = self.text[self.at : self.at + 3]
        if rest == '"""':
            self._skip(_BASIC_LONG)
        elif rest == "'''":
            self._skip(_LITERAL_LONG)
        elif rest[:1] == '"':
            self._skip(_BASIC)
        elif rest[:1] == "'":
            self._skip(_LITERAL)
        elif rest[:1] == "[":
            self._nested(path, "]", depth)
        elif rest[:1] == "{":
            self._nested(path, "}", depth)
        else:
            self._skip(_PLAIN)

    def _nested(self, path: Path, end: str, depth: int) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text[self.at] == end:
                self.at += 1
                return
            if end == "]":
                element = (*path, index)
                self.found.lines[element] = self._here()
                self._value(element, depth + 1)
                index += 1
            else:
                self._pair(path, depth + 1)
            self._skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] != end:
                raise _Stuck


def unquoted(key: str) -> str:
    """The text of a basic string; JSON's escapes are TOML's but for \\U and \\e, which no key of ours has."""
    try:
        return str(json.loads(key, strict=False))
    except ValueError:
        return key[1:-1]
