"""Who uses which generation now: every process is asked where its program, its libraries and its words are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROC = Path("/proc")


def users(folders: Sequence[Path], proc: Path = _PROC) -> dict[Path, tuple[int, ...]]:
    """Processes (pids) that use anything below each of the folders.

    An environment's interpreter is a link to the machine's own, so the program itself says nothing: libraries that are
    mapped, the command line, the working directory, open files and VIRTUAL_ENV do. As an ordinary user only that
    user's processes can be seen.
    """
    found: dict[Path, list[int]] = {folder: [] for folder in folders}
    needles = {os.fsencode(folder): folder for folder in folders}
    for process in proc.glob("[0-9]*"):
        said = _traces(process)
        for needle, folder in needles.items():
            if _named(needle, said):
                found[folder].append(int(process.name))
    return {folder: tuple(sorted(pids)) for folder, pids in found.items()}


def _traces(process: Path) -> bytes:
    """All paths that a process holds, one after another."""
    parts = []
    for name in ("cmdline", "maps"):
        with contextlib.suppress(OSError):
            parts.append((process / name).read_bytes())
    with contextlib.suppress(OSError):
        variables = (process / "environ").read_bytes().split(b"\0")
        parts += [value for value in variables if value.startswith((b"VIRTUAL_ENV=", b"PATH=", b"CONDA_PREFIX="))]
    links = [process / "exe", process / "cwd"]
    with contextlib.suppress(OSError):
        links += (process / "fd").iterdir()
    for link in links:
        with contextlib.suppress(OSError):
            parts.append(os.fsencode(link.readlink()))
    return b"\n".join(parts)


def _named(needle: bytes, said: bytes) -> bool:
    """Whether the path stands there as a whole: /envs/a is not /envs/ab."""
    start = said.find(needle)
    while start >= 0:
        after = said[start + len(needle) : start + len(needle) + 1]
        if not (after.isalnum() or after in (b"-", b"_", b".")):
            return True
        start = said.find(needle, start + 1)
    return False


def in_use(folder: Path, also: Mapping[Path, object] | None = None) -> bool:
    """Whether any process uses the folder."""
    return bool(users([folder, *(also or {})])[folder])
