"""Who may reach a path and who may change it, decided from modes alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """A path with what decides about it. mode: as of stat(2), type included."""

    path: Path
    mode: int
    uid: int


def chain(path: Path) -> tuple[Seen, ...]:
    """The path and every folder above it, links resolved, from the root down. Raises OSError when it is not there."""
    real = path.resolve(strict=True)
    found = []
    for part in (*reversed(real.parents), real):
        status = part.stat()
        found.append(Seen(part, status.st_mode, status.st_uid))
    return tuple(found)


def first_closed(parts: Sequence[Seen]) -> Seen | None:
    """The first that other people cannot enter (a folder) or run (a program); None when they can reach the last.
    Pure.
    """
    return next((part for part in parts if not part.mode & stat.S_IXOTH), None)


def first_writable(parts: Sequence[Seen], trusted: frozenset[int] = frozenset({0})) -> Seen | None:
    """The first that somebody who is not trusted can change; a sticky folder such as /tmp counts only by its owner.
    Pure.
    """
    for part in parts:
        if part.uid not in trusted:
            return part
        if part.mode & stat.S_IWOTH and not (stat.S_ISDIR(part.mode) and part.mode & stat.S_ISVTX):
            return part
    return None


def too_open(mode: int, allowed: int) -> bool:
    """Whether permission bits beyond those allowed are set. Pure."""
    return bool(stat.S_IMODE(mode) & 0o777 & ~allowed)


def some(names: Sequence[str], most: int = 3) -> str:
    """A few of many: "a, b, c and 4 more". Pure."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def exists(path: Path) -> bool:
    """Whether anything of that name is there, a link to nowhere included."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def listed(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """What is in a folder that is no link, sorted; nothing when it is not there.

    For homes: their owner may plant links.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    yield from sorted(folder.glob(pattern))
