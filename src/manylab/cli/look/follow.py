"""Log files on a screen: their ends, and what is added to them, also after they were cut or replaced."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manylab.base import names

# Bytes read at a time; a line that is longer comes in pieces.
_CHUNK = 1 << 16
# Bytes of one log that are read at most: people's servers can make theirs as long as they like.
_MOST = 1 << 24
_LOOK_EVERY = 0.3  # seconds
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    """Without characters that a terminal obeys: people's servers write into these logs, and root reads them. Pure."""
    plain = _COLOUR.sub("", text)
    return "".join(character if character.isprintable() or character == "\t" else "�" for character in plain)


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """The last lines of a file, and where it ended then (bytes)."""
    found = b""
    try:
        with path.open("rb") as file:
            end = place = file.seek(0, os.SEEK_END)
            while place > max(0, end - _MOST) and found.count(b"\n") <= count:
                step = min(_CHUNK, place)
                place -= step
                file.seek(place)
                found = file.read(step) + found
    except OSError:
        return [], 0
    lines = found.decode("utf-8", "replace").splitlines()
    return (lines[-count:] if count else []), end


@dataclass
class Follower:
    """One log that is followed from `offset` on (bytes)."""

    path: Path
    offset: int = 0
    inode: int = 0
    rest: bytes = b""

    def lines(self) -> Iterator[str]:
        """Whole lines that were added since the last time."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < self.offset or (self.inode and status.st_ino != self.inode):
                    self.offset, self.rest = 0, b""
                self.inode = status.st_ino
                if status.st_size - self.offset > _MOST:
                    self.offset, self.rest = status.st_size - _MOST, b""
                file.seek(self.offset)
                new = file.read(_MOST)
        except OSError:
            return
        self.offset += len(new)
        *whole, self.rest = (self.rest + new).split(b"\n")
        if len(self.rest) > _CHUNK:
            whole, self.rest = [*whole, self.rest], b""
        for line in whole:
            yield line.decode("utf-8", "replace")


def name_of(path: Path) -> str:
    """What stands before each line: "hub", or the name of somebody's server. Pure."""
    name = path.name.removesuffix(".log")
    person = names.account_of(name.removeprefix("server-")) if name.startswith("server-") else None
    return f"server-{person}" if person else name


def chosen(folder: Path, what: str) -> list[Path]:
    """The logs of a part ("hub"), of all servers ("servers"), of one person's, or ("") all."""
    if what in ("hub", "proxy", "warden"):
        patterns = [f"{what}.log"]
    elif what == "servers":
        patterns = ["server-*.log"]
    elif what:
        patterns = [f"server-{names.folder(what)}.log"]
    else:
        patterns = ["*.log"]
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if not path.is_symlink()})


def show(find: Callable[[], list[Path]], count: int, *, follow: bool, say: Callable[[str, str], None]) -> None:
    """The ends of the logs, then, with `follow`, what comes, until KeyboardInterrupt.

    find: which; asked again and again, as new servers bring new logs.
    """
    followers: dict[Path, Follower] = {}
    for path in find():
        lines, end = last_lines(path, count)
        for line in lines:
            say(name_of(path), line)
        followers[path] = Follower(path, end, path.stat().st_ino if path.exists() else 0)
    while follow:
        time.sleep(_LOOK_EVERY)
        for path in find():
            for line in followers.setdefault(path, Follower(path)).lines():
                say(name_of(path), line)
