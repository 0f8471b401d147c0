"""The locks that come with manylab, and those that were solved for this site."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from manylab.base.layout import Layout
from manylab.model.environments import Request
from manylab.model.resources import Directory
from manylab.system.files import make_directory, write_file

SHIPPED = ("proxy", "hub", "server", "scientific")


def _data(name: str) -> str:
    return (resources.files("manylab") / "locks" / name).read_text(encoding="utf-8")


def text(name: str) -> str:
    """The text of a file of locks, such as "tool.txt"."""
    return _data(name)


def shipped(name: str) -> str:
    """The text of a lock that comes with manylab."""
    return _data(f"{name}.txt")


def inputs() -> dict[str, tuple[str, ...]]:
    """The requirements behind each shipped lock, by its name."""
    return {name: _requirements(name) for name in SHIPPED}


def _requirements(name: str) -> tuple[str, ...]:
    found: list[str] = []
    for raw in _data(f"{name}.in").splitlines():
        line = raw.strip()
        if line.startswith("-r "):
            found += _requirements(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.append(line)
    return tuple(found)


def npm() -> tuple[str, str]:
    """package.json and package-lock.json of the proxy."""
    return _data("package.json"), _data("package-lock.json")


def solved_path(layout: Layout, asked: Request) -> Path:
    """Where the lock that was solved for a request is kept."""
    return layout.env_locks / asked.name / f"{asked.digest}.txt"


def find(layout: Layout, asked: Request) -> str | None:
    """The lock for a request: the one solved earlier, the shipped one, or None.

    A site has one of its own for what also is shipped after an upgrade (`env build --upgrade`) or going back from one.
    """
    try:
        return solved_path(layout, asked).read_text(encoding="utf-8")
    except FileNotFoundError:
        return shipped(asked.shipped) if asked.shipped else None


def keep(layout: Layout, asked: Request, lock: str) -> None:
    """Remember a lock, so that the same request gives the same environment from now on."""
    path = solved_path(layout, asked)
    if asked.shipped and lock == shipped(asked.shipped):
        path.unlink(missing_ok=True)
        return
    make_directory(Directory(path.parent))
    write_file(path, lock, 0o644)
