"""What is written down about each generation of an environment, in its own folder.

A folder without its marker does not count and is made again. Markers of the first versions hold less: what is missing
is unknown, and such a generation is as good as any.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manylab.model.resources import Environment
from manylab.system.files import write_file

MARKER = "manylab-environment.json"
LOCK = "manylab-lock.txt"
# What is being removed is renamed to this and the digest first.
GONE = ".gone-"


@dataclass(frozen=True)
class Generation:
    """One complete generation. number: counts from 1 within its environment, 0 in the first versions.

    when: seconds since the epoch. asked: packages, python and backend as manylab.toml had them, None when that was
    not written down. summary: what changed, one line. size: bytes on the disk, everything counted. report: what its
    packages do that one should know of. tested: what was tried before it was used.
    """

    path: Path
    number: int
    when: float
    asked: dict[str, Any] | None
    summary: str
    size: int
    report: tuple[str, ...]
    tested: tuple[str, ...]

    @property
    def digest(self) -> str:
        return self.path.name

    @property
    def lock(self) -> str:
        """The packages, with hashes."""
        return (self.path / LOCK).read_text(encoding="utf-8")


def read(folder: Path) -> Generation | None:
    """The generation in a folder, None when it is not complete."""
    try:
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        when = said.get("when") or (folder / MARKER).stat().st_mtime
        return Generation(
            path=folder,
            number=int(said.get("number", 0)),
            when=float(when),
            asked=said.get("asked"),
            summary=str(said.get("summary", "")),
            size=int(said.get("size", 0)),
            report=tuple(said.get("report", ())),
            tested=tuple(said.get("tested", ())),
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def generations(environment: Path) -> tuple[Generation, ...]:
    """All complete generations of an environment (the folder above them), oldest first."""
    folders = [path for path in environment.glob("*") if not path.name.startswith(".") and not path.is_symlink()]
    found = [generation for folder in folders if (generation := read(folder)) is not None]
    return tuple(sorted(found, key=lambda one: (one.number, one.when, one.digest)))


def current(environment: Path) -> str:
    """The digest of the generation in use, "" without one."""
    link = environment / "current"
    return link.readlink().name if link.is_symlink() else ""


def write(want: Environment, **facts: Any) -> None:
    """Mark a generation complete: the last step of its building."""
    number = max((one.number for one in generations(want.path.parent)), default=0) + 1
    said = {"digest": want.digest, "name": want.name, "contents": contents(want.path), "number": number, **facts}
    write_file(want.path / MARKER, json.dumps(said) + "\n", 0o644)


def observe_environment(want: Environment) -> Environment | None:
    """What stands in the folder of this generation: complete (its digest), incomplete (digest ""), or None."""
    try:
        said = json.loads((want.path / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return replace(want, digest="") if want.path.exists() else None
    except ValueError:
        return replace(want, digest="")
    whole = said.get("digest") == want.digest and _interpreter_runs(want)
    # The first versions did not write down the contents.
    untouched = said.get("contents") in (None, contents(want.path))
    return want if whole and untouched else replace(want, digest="")


def contents(environment: Path) -> list[str]:
    """Names of what is installed: packages that somebody removed, added or upgraded by hand show."""
    found = (path.name for path in environment.glob("lib/python3*/site-packages/*"))
    return sorted(name for name in found if name != "__pycache__")


def site_packages(environment: Path) -> Path:
    """The folder of packages inside an environment."""
    # conda has a link lib/python3.1 as well.
    found = (environment / "lib").glob("python3*/site-packages")
    return next(folder for folder in found if not folder.parent.is_symlink())


def conda_packages(environment: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Name and files (below the environment) of each conda package in it; [] for an environment of uv's.

    What is no such record is left out: a wheel can put anything there.
    """
    found = []
    for path in sorted((environment / "conda-meta").glob("*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            found.append((str(said["name"]), tuple(str(file) for file in said["files"])))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
    return found


def _interpreter_runs(want: Environment) -> bool:
    """Whether the environment's interpreter is still there: the system's Python may have been upgraded under it."""
    return not want.python or os.access(want.path / "bin/python", os.X_OK)
