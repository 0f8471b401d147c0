"""Links to the site's kernels in the folder of the machine where every Jupyter looks by itself: a notebook made in the
Lab is executed by `papermill` or `jupyter nbconvert` of any environment, with no variable set.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from manylab.model.resources import Directory, KernelLinks, Link
from manylab.system.files import make_directory, make_link


def observe(want: KernelLinks) -> KernelLinks:
    """`want`, and which of its links are missing or lead nowhere. A kernel of that name which is not ours stays."""
    kernels, ours = _kernels(want.folder), _ours(want)
    missing = {name for name in kernels - ours if not _taken(want.into / name)}
    return KernelLinks(want.folder, want.into, tuple(sorted(missing | (ours - kernels))))


def write(want: KernelLinks) -> None:
    """Make those that are missing, and remove those that lead nowhere."""
    for name in observe(want).differ:
        if name in _kernels(want.folder):
            make_directory(Directory(want.into))
            make_link(Link(want.into / name, str(want.folder / name)))
        else:
            (want.into / name).unlink()


def remove(want: KernelLinks) -> list[str]:
    """Remove all of them, and the folders that are empty then; the paths that are gone."""
    found = [want.into / name for name in sorted(_ours(want))]
    for path in found:
        path.unlink()
    with contextlib.suppress(OSError):
        want.into.rmdir()
        want.into.parent.rmdir()
    return [str(path) for path in found]


def _kernels(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/kernel.json")}


def _ours(want: KernelLinks) -> set[str]:
    return {path.name for path in want.into.glob("*") if path.is_symlink() and path.readlink().parent == want.folder}


def _taken(path: Path) -> bool:
    return path.is_symlink() or path.exists()
