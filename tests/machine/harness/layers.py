"""Frozen layers of a machine's disk: base roots, roots with more packages, sites already installed.

A layer is a folder `layers/NAME@KEY-RANDOM` with `tree/`, the files, and `layer.json`. Layers stack: each
names the exact layers that it was made over, so that one made over a root that has since been built anew is
never used again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from . import host, owners
from .errors import HarnessError

Init = Literal["none", "sysv", "systemd"]


@dataclass(frozen=True)
class Root:
    """Something to lay a machine over."""

    name: str
    init: Init  # what a machine boots from it unless told otherwise
    layers: tuple[Path, ...]  # lowest first; the last one is this root's own

    @property
    def trees(self) -> list[Path]:
        """Top first, as overlayfs wants its lowerdir."""
        return [layer / "tree" for layer in reversed(self.layers)]

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Nobody deletes these layers meanwhile. Raises HarnessError when one is gone already."""
        with ExitStack() as stack:
            for layer in self.layers:
                fcntl.flock(stack.enter_context(_lock(layer)), fcntl.LOCK_SH)
                if not layer.exists():
                    raise HarnessError(f"{layer.name} was replaced by another test run; start again")
            yield


def _home() -> Path:
    return host.cache() / "layers"


def _lock(layer: Path) -> IO[str]:
    path = host.cache() / "locks" / f"layer-{layer.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:10]


def find(name: str, key: str, over: Root | None) -> Root | None:
    """The layer of this name and key, made over exactly that root; None when there is none."""
    for folder in sorted(_home().glob(f"{name}@{_short(key)}-*")):
        try:
            facts = json.loads((folder / "layer.json").read_text())
        except FileNotFoundError:  # another process is deleting it
            continue
        below = over.layers if over else ()
        if facts["over"] == [layer.name for layer in below]:
            return Root(name, facts["init"], (*below, folder))
    return None


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the cache's disk, named after us so that the sweep finds it, gone at the end."""
    folder = _home() / f".{owners.new_name()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def store(name: str, key: str, over: Root | None, init: Init, tree: Path) -> Root:
    """Move `tree` (no longer mounted) into the cache, and delete layers of the same name with another key.

    Raises HarnessError for a name that cannot be part of an overlay's options.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", name):
        raise HarnessError(f"not a name for a layer: {name!r} (small letters, digits, + . _ -)")
    below = over.layers if over else ()
    with scratch() as folder:
        (folder / "layer.json").write_text(
            json.dumps({"name": name, "key": key, "init": init, "over": [layer.name for layer in below]})
        )
        try:
            tree.rename(folder / "tree")
        except OSError:  # from a tmpfs; -a keeps hard links and overlay's own attributes
            subprocess.run(["cp", "-a", str(tree), str(folder / "tree")], check=True, timeout=900)
        final = _home() / f"{name}@{_short(key)}-{secrets.token_hex(3)}"
        folder.rename(final)
    prune(name, keep=final)
    return Root(name, init, (*below, final))


def prune(name: str, keep: Path | None) -> None:
    """Delete other layers of that name, and layers over something that no longer exists, unless a machine
    uses them.
    """
    layers = {path.name: path for path in _home().glob("*@*")}
    for path in layers.values():
        try:
            facts = json.loads((path / "layer.json").read_text())
        except FileNotFoundError:  # another process is deleting it
            continue
        old = facts["name"] == name and path != keep
        if old or not all(below in layers for below in facts["over"]):
            with _lock(path) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                doomed = _home() / f".{owners.new_name()}"  # renamed first: nobody finds half a layer
                path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
                Path(file.name).unlink()
