"""Packs the files of web pages that an environment has, once, so that no server has to do it while somebody waits."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manylab.base.packed import ENDING, KINDS, LEAST
from manylab.model.environments import HUB, SERVER

# Which parts of an environment a browser is sent. Of the hub's there is a lot that no page asks for.
_FOLDERS = {
    SERVER: ("share/jupyter/lab/static", "share/jupyter/lab/themes", "share/jupyter/labextensions"),
    HUB: tuple(
        f"share/jupyterhub/static/{part}"
        for part in ("css", "js", "components/bootstrap/dist/js", "components/jquery/dist", "components/requirejs")
    ),
}
_LEVEL = 6  # the next three take twice as long for half a percent


def pack(name: str, folder: Path, before: Sequence[Path] = ()) -> None:
    """Lay `FILE.gz` beside each file of the environment `name` in `folder` that is worth it.

    before: earlier generations; what they have packed of a file that is the same inode is the same one again. A file of
    a package that has the name already stays. Raises OSError.
    """
    work = [(path, status, [old / path.relative_to(folder) for old in before]) for path, status in _files(name, folder)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # zlib lets go of Python's lock
        for _ in threads.map(lambda one: _pack(*one), work):
            pass


def _files(name: str, folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for part in _FOLDERS.get(name, ()):
        for directory, _, names in os.walk(folder / part):
            for one in names:
                path = Path(directory, one)
                if path.suffix in KINDS:
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode) and status.st_size >= LEAST:
                        yield path, status


def _pack(path: Path, status: os.stat_result, before: Sequence[Path]) -> None:
    packed = path.with_name(path.name + ENDING)
    for old in before:
        with contextlib.suppress(OSError):  # it is not there, or cannot have another name: made anew
            if os.path.samestat(old.lstat(), status):
                os.link(old.with_name(packed.name), packed, follow_symlinks=False)
                return
    content = gzip.compress(path.read_bytes(), _LEVEL, mtime=0)
    try:
        with packed.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return
    # By this a server knows of which file it is.
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
