"""Numbered records of what was applied: the configuration, the locks, the rendered files, and what was made by it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manylab.base.errors import NotFound
from manylab.base.layout import Layout
from manylab.model.resources import Directory, Environment, File, Link, Resource
from manylab.system.files import make_directory, make_link, sync_files, write_file

# Enough for a term of changes; each is a few hundred kilobytes of text.
KEEP = 30


@dataclass(frozen=True)
class Generation:
    """One record. number: counts from 1. when: seconds since the epoch. digest: of configuration, locks and resources.

    source_digest: manylab's own code at that time. paths: files and links that it made. summary: one line for people.
    environments: the generation (its digest) of each environment that was in use; empty in records of earlier versions.
    restores: the record that this one went back to, None when it went forward. restored: the same for one environment.
    """

    number: int
    when: float
    digest: str
    version: str
    source_digest: dict[tuple[str, ...], str]
    summary: str
    paths: tuple[str, ...]
    folder: Path
    environments: Mapping[str, str] = field(default_factory=dict)
    restores: int | None = None
    restored: Mapping[str, int] = field(default_factory=dict)

    @property
    def config_text(self) -> str:
        """manylab.toml as it was."""
        return (self.folder / "manylab.toml").read_text(encoding="utf-8")

    def locks(self) -> dict[str, str]:
        """The lock of each environment, by the environment's name."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted((self.folder / "locks").glob("*.txt"))}


def read_all(layout: Layout) -> tuple[Generation, ...]:
    """All generations, oldest first. A folder that is not whole, or written differently, does not count."""
    found = []
    for folder in layout.generations.glob("[0-9]*"):
        try:
            said = _typed(json.loads((folder / "meta.json").read_text(encoding="utf-8")))
            found.append(Generation(folder=folder, **said))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return tuple(sorted(found, key=lambda generation: generation.number))


def _typed(said: dict[str, Any]) -> dict[str, Any]:
    """meta.json with the types of Generation: JSON knows neither tuples nor keys that are not text."""
    digests = {tuple(parts): digest for parts, digest in said["source_digest"]}
    return {**said, "paths": tuple(said["paths"]), "source_digest": digests}


def current(layout: Layout) -> Generation | None:
    """The generation that was applied last and whole, or None on a new machine."""
    link = layout.generations / "current"
    name = str(link.readlink()) if link.is_symlink() else ""
    return next((found for found in read_all(layout) if str(found.number) == name), None)


def find(layout: Layout, number: int | None) -> Generation:
    """The generation of that number; without a number, the one in use before. Raises NotFound."""
    everything = read_all(layout)
    if number is None:
        earlier = before(everything, current(layout))
        if earlier is None:
            raise NotFound("there is no earlier generation to go back to", hint="'manylab history' lists them")
        return earlier
    for found in everything:
        if found.number == number:
            return found
    raise NotFound(f"there is no generation {number}", hint="'manylab history' lists them")


def before(everything: Sequence[Generation], now: Generation | None) -> Generation | None:
    """What was in use before the current generation came into use; None when nothing was, or it is not known.

    Like undo in an editor: a rollback goes back to an earlier state, and the state before that one comes next. What was
    rejected by a rollback is never returned.
    """
    origin = _origin(everything, now, lambda one: one.restores)
    earlier = [one for one in everything if origin is not None and one.number < origin.number]
    return earlier[-1] if earlier else None


def environment_before(everything: Sequence[Generation], now: Generation | None, name: str) -> str | None:
    """The same for one environment: the digest of its generation that was in use before, or None."""

    def restores(one: Generation) -> int | None:
        return one.restored.get(name, one.restores)

    # Records in which something else was changed have the same generation of this environment.
    while now is not None and (now := _origin(everything, now, restores)) is not None:
        in_use = now.environments.get(name)
        now = max((one for one in everything if one.number < now.number), key=lambda one: one.number, default=None)
        if now is not None and now.environments.get(name, in_use) != in_use:
            return now.environments[name]
    return None


def _origin(
    everything: Sequence[Generation], now: Generation | None, restores: Callable[[Generation], int | None]
) -> Generation | None:
    """The record that first made the state of `now`; None when it was removed."""
    by_number = {one.number: one for one in everything}
    while now is not None and (number := restores(now)) is not None:
        now = by_number.get(number)
    return now


def record(
    layout: Layout,
    *,
    digest: str,
    version: str,
    source_digest: Mapping[tuple[str, ...], str],
    summary: str,
    config_text: str,
    locks: Mapping[str, str],
    resources: Sequence[Resource],
    restores: int | None = None,
    restored: Mapping[str, int] | None = None,
) -> Generation:
    """Write the next generation and make it the current one.

    The folder gets its number in one rename, when it is whole.
    """
    make_directory(Directory(layout.generations, 0o700))
    # Records that this version cannot read count too: a later version may have written them.
    taken = (int(path.name) for path in layout.generations.iterdir() if path.name.isdecimal())
    number = max(taken, default=0) + 1
    folder = layout.generations / str(number)
    building = layout.generations / ".new"
    if building.exists():
        shutil.rmtree(building)
    make_directory(Directory(building, 0o700))
    write_file(building / "manylab.toml", config_text, 0o600, synced=False)
    make_directory(Directory(building / "locks", 0o700))
    for name, lock in locks.items():
        write_file(building / "locks" / f"{name}.txt", lock, 0o600, synced=False)
    make_directory(Directory(building / "rendered", 0o700))
    for number_of_file, file in enumerate(item for item in resources if isinstance(item, File) and not item.volatile):
        name = f"{number_of_file:02}-{file.path.name}"
        write_file(building / "rendered" / name, file.content, 0o600, synced=False)
    paths = tuple(
        str(item.path) for item in resources if isinstance(item, File | Link) and not getattr(item, "volatile", False)
    )
    meta = {
        "number": number,
        "when": time.time(),
        "digest": digest,
        "version": version,
        "source_digest": [[list(parts), named] for parts, named in source_digest.items()],
        "summary": summary,
        "paths": paths,
        "environments": {item.name: item.digest for item in resources if isinstance(item, Environment)},
        "restores": restores,
        "restored": dict(restored or {}),
    }
    write_file(building / "meta.json", json.dumps(meta, indent=1) + "\n", 0o600, synced=False)
    sync_files(building)
    building.rename(folder)
    make_link(Link(layout.generations / "current", str(number)))
    for old in read_all(layout)[:-KEEP]:
        shutil.rmtree(old.folder)
    return Generation(folder=folder, **_typed(meta))
