"""Removes generations of environments that nobody needs, and what interrupted builds left."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manylab.base.errors import ManylabError
from manylab.system.environments import record, share, use
from manylab.system.environments.installers import Say, uv
from manylab.system.environments.record import GONE, Generation
from manylab.system.files import sweep_scratch


@dataclass(frozen=True)
class Removed:
    """What was removed (or would be). size: bytes that this frees, files shared with what stays not counted."""

    environment: str
    generation: Generation
    size: int


def sweep(envs: Path, keep: Collection[Path]) -> list[Path]:
    """Remove what interrupted runs left: folders without a marker, other than `keep`, and those that were on their
    way out. Returns what was removed.
    """
    removed = []
    # Where sources are built (`sources`), and what installers were told.
    shutil.rmtree(envs.with_name("building"), ignore_errors=True)
    sweep_scratch(envs.with_name("cache"))
    for folder in _folders(envs):
        original = folder.with_name(folder.name.removeprefix(GONE))
        if folder.name.startswith(GONE):
            # Somebody may have come while it was being moved, and then nobody was left to put it back.
            if (folder / record.MARKER).exists() and not original.exists() and _anybody(folder, original):
                folder.rename(original)
                continue
        elif folder in keep or (folder / record.MARKER).exists():
            continue
        _remove(folder)
        removed.append(folder)
    return removed


def _folders(envs: Path) -> Iterator[Path]:
    yield from (folder for folder in sorted(envs.glob("*/*")) if folder.is_dir() and not folder.is_symlink())


def unneeded(envs: Path, *, keep: int, needed: Collection[Path]) -> list[Generation]:
    """Generations that are neither in use by the site, nor among the newest `keep`, nor in `needed`; processes are
    not asked yet.
    """
    found = []
    for environment in sorted(folder for folder in envs.glob("*") if folder.is_dir()):
        everything = record.generations(environment)
        newest = {one.path for one in everything[-keep:]}
        now = record.current(environment)
        found += [one for one in everything if one.path not in newest | set(needed) and one.digest != now]
    return found


def freed(going: Sequence[Generation]) -> list[Removed]:
    """What each of these would free if all went, oldest first: a file goes with the last generation that has it.

    Links in uv's cache do not count: the cache is cleaned as well.
    """
    gone = {one.path for one in going}
    kept: set[tuple[int, int]] = set()
    for environments in {one.path.parents[1] for one in going}:
        for folder in _folders(environments):
            if folder not in gone:
                kept |= share.inodes(folder).keys()
    found = []
    for one in going:
        own = {inode: size for inode, size in share.inodes(one.path).items() if inode not in kept}
        kept |= own.keys()
        found.append(Removed(one.path.parent.name, one, sum(own.values())))
    return found


def own_sizes(envs: Path, generations: Sequence[Generation]) -> dict[Path, int]:
    """What removing each of these alone would free; everything is looked at once, however many they are."""
    found = {folder: share.inodes(folder) for folder in _folders(envs)}
    times = Counter(inode for inodes in found.values() for inode in inodes)
    return {
        one.path: sum(size for inode, size in found.get(one.path, {}).items() if times[inode] == 1)
        for one in generations
    }


def collect(envs: Path, *, keep: int, needed: Collection[Path], say: Say, dry_run: bool = False) -> list[Removed]:
    """Remove the generations that nobody needs. Returns them.

    Each is renamed first (where the file system can): then nobody can come to use it any more, and who came meanwhile
    is seen, and it is put back. An interrupted run is finished by `sweep`.
    """
    candidates = unneeded(envs, keep=keep, needed=needed)
    busy = use.users([one.path for one in candidates]) if candidates else {}
    going = freed([one for one in candidates if not busy[one.path]])
    if dry_run:
        return going
    removed = []
    for one in going:
        path = one.generation.path
        aside = _moved_aside(path)
        if _anybody(aside, path):
            if aside != path:
                aside.rename(path)
            continue
        say(f"remove generation {one.generation.number or path.name} of {one.environment}")
        _remove(aside)
        removed.append(one)
    return removed


def _moved_aside(path: Path) -> Path:
    """Where the folder is from now on: under another name, or where it was if that cannot be done."""
    aside = path.with_name(GONE + path.name)
    try:
        path.rename(aside)
    except OSError as error:
        # overlayfs does not rename folders of a lower layer: a container whose image was made with the environment.
        if error.errno != errno.EXDEV:
            raise
        return path
    return aside


def _anybody(*folders: Path) -> bool:
    """Whether any process uses one of these: what is mapped shows under its new name, words keep the old one."""
    return any(use.users(folders).values())


def _remove(folder: Path) -> None:
    """Without its marker first: should this be interrupted, what is left is not taken for an environment."""
    (folder / record.MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder)


def prune_cache(cache: Path, network: dict[str, str], say: Say) -> int:
    """Remove from uv's cache what no generation has any more; returns bytes.

    What generations have is linked there, and costs nothing. Where the file system made copies instead, all of it is
    what a download would bring again, and uv decides.
    """
    archives = [folder for folder in sorted((cache / "uv").glob("archive-v*/*")) if folder.is_dir()]
    linked = {folder: _is_linked(folder) for folder in archives}
    total = 0
    if any(linked.values()):
        going = [folder for folder in archives if not linked[folder]]
        _forget(cache / "uv", {folder.name.encode() for folder in going})
        for folder in going:
            total += share.size(folder)
            shutil.rmtree(folder, ignore_errors=True)
    if archives:
        # The cache is a help and no more.
        with contextlib.suppress(ManylabError):
            uv(["cache", "prune", "--quiet"], cache, network, lambda line: None)
    return total


def _forget(uv_cache: Path, archives: Collection[bytes]) -> None:
    """Remove what names these archives: uv takes an archive that is named and not there for a broken wheel."""
    for path in (*uv_cache.glob("wheels-v*/**/*"), *uv_cache.glob("sdists-v*/**/*")):
        with contextlib.suppress(OSError):
            said = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            if any(name in said for name in archives):
                path.unlink()


def _is_linked(folder: Path) -> bool:
    return any(
        stat.S_ISREG(status.st_mode) and status.st_size and status.st_nlink > 1 for _, status in share.below(folder)
    )
