"""Where the file browser's "Delete" puts things: the trash in the person's own home, as freedesktop.org describes it.

`~/.local/share/Trash/files` has what was deleted, `info` where it was. Desktops and their tools read the same folder.
Runs as the person, with nothing but the standard library: in their server and on the command line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_SUFFIX: Final = ".trashinfo"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# Bytes that must be left, or there is no room for a trash.
_ROOM: Final = 1024 * 1024
# Bytes that are copied from another file system, while somebody waits.
_MOST: Final = 1024 * 1024 * 1024
_NAME_MAX: Final = 255


class TooLarge(OSError):
    """It is on another file system, and too large to be copied to the trash."""


@dataclass(frozen=True)
class Item:
    """name: in the trash. original: where it was, None where nothing says so. deleted: seconds since the epoch."""

    name: str
    original: Path | None
    deleted: float

    def as_data(self) -> dict[str, object]:
        when = datetime.fromtimestamp(self.deleted).astimezone().isoformat(timespec="seconds")
        return {"name": self.name, "original": str(self.original or ""), "deleted": when}


class Trash:
    """One person's trash, which is made when something is put into it."""

    def __init__(self, home: Path) -> None:
        # Whatever XDG_DATA_HOME is: a server and a terminal need not have the same one.
        self.folder = home / ".local/share/Trash"
        self.files, self.info = self.folder / "files", self.folder / "info"

    def put(self, path: Path) -> Path | None:
        """Move a file, a link or a folder here; its new place. None: the disk is full, and it is gone for good.

        Raises OSError, TooLarge among them; then it is still where it was.
        """
        device = path.lstat().st_dev
        while True:
            try:
                self._make()
                record = self._record(path)
                break
            except OSError as error:
                if error.errno not in _FULL or device != _device(self.folder):
                    raise
            # Whoever deletes something now wants the room: the oldest of the trash goes first.
            if not self._give_way():
                remove(path)
                return None
        target = self.files / record.name.removesuffix(_SUFFIX)
        try:
            _move(path, target, most=_MOST)
        except OSError:
            if not os.path.lexists(target):
                record.unlink(missing_ok=True)
            raise
        return target

    def items(self) -> list[Item]:
        """What is there, the oldest first."""
        return sorted(self._look(), key=lambda item: item.deleted)

    def restore(self, name: str) -> Path:
        """Put one item back where it was; that place. Raises FileNotFoundError, FileExistsError, OSError."""
        item = next((one for one in self._look() if one.name == name), None)
        if item is None or item.original is None:
            raise FileNotFoundError(errno.ENOENT, "not in the trash", name)
        if os.path.lexists(item.original):
            raise FileExistsError(errno.EEXIST, "there is something else in its place", str(item.original))
        item.original.parent.mkdir(parents=True, exist_ok=True)
        _move(self.files / name, item.original, most=None)
        (self.info / (name + _SUFFIX)).unlink(missing_ok=True)
        return item.original

    def empty(self, before: float | None = None) -> int:
        """Remove for good what was deleted before that moment, or everything; how many items."""
        count = 0
        for item in self.items():
            if (before is None or item.deleted < before) and self._forget(item):
                count += 1
        return count

    def _make(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.files, self.info):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self._usable():
            raise OSError(errno.EPERM, "not a folder of your own", str(self.folder))

    def _usable(self) -> bool:
        """Whether the three folders are plain ones of this account: nothing is removed by way of a link."""
        for folder in (self.folder, self.files, self.info):
            try:
                status = folder.lstat()
            except OSError:
                return False
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                return False
        return True

    def _look(self) -> Iterator[Item]:
        if not self._usable():
            return
        for path in self.files.iterdir():
            record = self.info / (path.name + _SUFFIX)
            try:
                text = record.read_text(encoding="utf-8", errors="replace")
                deleted = record.stat().st_mtime
            except OSError:
                text, deleted = "", path.lstat().st_ctime
            yield Item(path.name, self._original(text), deleted)

    def _original(self, text: str) -> Path | None:
        for line in text.splitlines():
            if line.startswith("Path="):
                # Relative ones are so to the folder that the trash is in.
                return self.folder.parent / os.fsdecode(unquote_to_bytes(line[5:].strip()))
        return None

    def _record(self, path: Path) -> Path:
        """Write down where something was, under a name that nothing else in the trash has."""
        made = f"[Trash Info]\nPath={quote(os.fsencode(path.absolute()))}\nDeletionDate={datetime.now():%FT%T}\n"
        for number in range(1, 1_000_000):
            record = self.info / (_numbered(path.name, number) + _SUFFIX)
            if os.path.lexists(self.files / record.name.removesuffix(_SUFFIX)):
                continue
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    _need_room(descriptor)
                    os.write(descriptor, made.encode())
                except OSError:
                    record.unlink(missing_ok=True)
                    raise
                finally:
                    os.close(descriptor)
                return record
        raise FileExistsError(errno.EEXIST, "too many of this name are in the trash", str(path))

    def _give_way(self) -> bool:
        """Remove the oldest item; whether there was one that could be removed."""
        return any(self._forget(item) for item in self.items())

    def _forget(self, item: Item) -> bool:
        try:
            remove(self.files / item.name)
        except FileNotFoundError:
            pass  # another server of this person was quicker
        except OSError:
            return False
        (self.info / (item.name + _SUFFIX)).unlink(missing_ok=True)
        return True


def remove(path: Path) -> None:
    """Remove it for good. A link goes, never what it leads to; folders that may not be written are made so."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        for parent, folders, _ in os.walk(path):
            for folder in (Path(parent), *(Path(parent, name) for name in folders)):
                if not folder.is_symlink() and stat.S_IMODE(folder.lstat().st_mode) & 0o700 != 0o700:
                    folder.chmod(0o700)
        shutil.rmtree(path)


def _device(folder: Path) -> int:
    """The file system that a folder is on, or would be."""
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev


def _need_room(descriptor: int) -> None:
    """Raises OSError when a disk or a quota is full. File systems that cannot tell have room."""
    try:
        os.posix_fallocate(descriptor, 0, _ROOM)
        os.ftruncate(descriptor, 0)
    except OSError as error:
        if error.errno in _FULL:
            raise


def _numbered(name: str, number: int) -> str:
    """The name of the nth item of that name, short enough for its record."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - not of a path
    more = (f" {number}" if number > 1 else "") + suffix
    most = _NAME_MAX - len(_SUFFIX) - len(os.fsencode(more))
    return os.fsdecode(os.fsencode(stem)[: max(1, most)]) + more


def _move(source: Path, target: Path, *, most: int | None) -> None:
    """Rename, or copy and remove from one file system to another: at most so many bytes."""
    try:
        _rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if most is not None and _larger(source, most):
        raise TooLarge(errno.EFBIG, "too large to be copied to the trash from another file system", str(source))
    try:
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(target)
        raise
    remove(source)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except PermissionError:
        # A folder whose owner may not write in it cannot get another parent either.
        status = source.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or mode & 0o200:
            raise
        source.chmod(mode | 0o700)
        try:
            source.rename(target)
        finally:
            (target if target.exists() else source).chmod(mode)


def _larger(path: Path, most: int) -> bool:
    total = path.lstat().st_size
    for parent, _, files in os.walk(path):
        total += sum(Path(parent, name).lstat().st_size for name in files)
        if total > most:
            return True
    return total > most
