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
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_SUFFIX: Final = ".trashinfo"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# Bytes that are copied from another file system, while somebody waits.
_MOST: Final = 1024 * 1024 * 1024
_NAME_MAX: Final = 255
# Bytes of what follows the last dot, beyond which it is no suffix but a part of the name.
_SUFFIX_MAX: Final = 32
# In the records that are written here: only what has it is removed by age.
_OURS: Final = "X-Manylab=1"
# Held while a name in the trash is chosen: without a record nothing else reserves one.
_naming = threading.Lock()


class TooLarge(OSError):
    """It is on another file system, and too large to be copied to the trash."""


class NoRoom(OSError):
    """The disk or a quota is so full that it cannot be moved to the trash."""


@dataclass(frozen=True)
class Item:
    """name: in the trash. original: where it was, None where nothing says so. deleted: seconds since the epoch.

    ours: it was put there by this module, not by a desktop.
    """

    name: str
    original: Path | None
    deleted: float
    ours: bool

    def as_data(self) -> dict[str, object]:
        when = datetime.fromtimestamp(self.deleted).astimezone().isoformat(timespec="seconds")
        return {"name": self.name, "original": str(self.original or ""), "deleted": when}


class Trash:
    """One person's trash, which is made when something is put into it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Whatever XDG_DATA_HOME is: a server and a terminal need not have the same one.
        self.folder = home / ".local/share/Trash"
        self.files, self.info = self.folder / "files", self.folder / "info"

    def put(self, path: Path) -> Path:
        """Move a file, a link or a folder here; its new place.

        Raises OSError, NoRoom and TooLarge among them; then it is still where it was.
        """
        path.lstat()
        try:
            self._make()
            return self._put(path)
        except OSError as error:
            if _is_full(error):
                raise NoRoom(errno.ENOSPC, "no room to move it to the trash", str(path)) from error
            raise

    def items(self) -> list[Item]:
        """What is there, the oldest first."""
        return sorted(self._look(), key=lambda item: item.deleted)

    def restore(self, name: str) -> Path:
        """Put one item back where it was, or in the home where nothing says so; that place.

        Raises FileNotFoundError, FileExistsError, OSError.
        """
        item = next((one for one in self._look() if one.name == name), None)
        if item is None:
            raise FileNotFoundError(errno.ENOENT, "not in the trash", name)
        place = item.original or self.home / name
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, "there is something else in its place", str(place))
        place.parent.mkdir(parents=True, exist_ok=True)
        _move(self.files / name, place, most=None)
        (self.info / (name + _SUFFIX)).unlink(missing_ok=True)
        return place

    def empty(self) -> int:
        """Remove everything for good, whoever put it there; how many items."""
        return sum(self._forget(item) for item in self.items())

    def empty_by_age(self, before: float) -> int:
        """Remove for good what was put here by this module before that moment; how many items."""
        return sum(self._forget(item) for item in self.items() if item.ours and item.deleted < before)

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
                try:
                    text, deleted = "", path.lstat().st_ctime
                except FileNotFoundError:
                    continue  # it was removed meanwhile
            yield Item(path.name, self._original(text), deleted, _OURS in text.splitlines())

    def _original(self, text: str) -> Path | None:
        for line in text.splitlines():
            if line.startswith("Path="):
                # Relative ones are so to the folder that the trash is in.
                return self.folder.parent / os.fsdecode(unquote_to_bytes(line[5:].strip()))
        return None

    def _put(self, path: Path) -> Path:
        try:
            record = self._record(path)
        except OSError as error:
            if not _is_full(error):
                raise
            return self._put_without_record(path, error)
        target = self.files / record.name.removesuffix(_SUFFIX)
        try:
            _move(path, target, most=_MOST)
        except OSError:
            if not os.path.lexists(target):
                record.unlink(missing_ok=True)
            raise
        return target

    def _put_without_record(self, path: Path, full: OSError) -> Path:
        """A rename needs no room where a record does; then nothing says where it was. Raises `full` for what would have
        to be copied.
        """
        with _naming:
            target = self.files / next(self._free_names(path))
            try:
                _rename(path, target)
            except OSError as error:
                raise (full if error.errno == errno.EXDEV else error) from None
        return target

    def _record(self, path: Path) -> Path:
        """Write down where something was, under a name that nothing else in the trash has."""
        where, when = quote(os.fsencode(path.absolute())), f"{datetime.now():%FT%T}"
        text = f"[Trash Info]\nPath={where}\nDeletionDate={when}\n{_OURS}\n"
        with _naming:
            for name in self._free_names(path):
                record = self.info / (name + _SUFFIX)
                with contextlib.suppress(FileExistsError):  # another server of this person was quicker
                    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                    try:
                        _write(descriptor, text.encode())
                    except OSError:
                        record.unlink(missing_ok=True)
                        raise
                    return record
        raise AssertionError("there is always another name, or an error")

    def _free_names(self, path: Path) -> Iterator[str]:
        """Names for it that neither an item nor a record has."""
        for number in range(1, 1_000_000):
            name = _numbered(path.name, number)
            if not (os.path.lexists(self.files / name) or os.path.lexists(self.info / (name + _SUFFIX))):
                yield name
        raise FileExistsError(errno.EEXIST, "too many of this name are in the trash", str(path))

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
        _allow_owner(path)
        for parent, folders, _ in os.walk(path):
            for name in folders:
                _allow_owner(Path(parent, name))
        shutil.rmtree(path)


def _allow_owner(folder: Path) -> None:
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if not folder.is_symlink() and mode & 0o700 != 0o700:
        folder.chmod(mode | 0o700)


def _is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full. What shutil could not copy, it tells as text alone."""
    if isinstance(error, shutil.Error):
        return any(f"[Errno {number}]" in str(error) for number in _FULL)
    return error.errno in _FULL


def _write(descriptor: int, text: bytes) -> None:
    """Write all of it and close. Raises OSError; some file systems tell of a full disk only at the close."""
    try:
        written = os.write(descriptor, text)
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    if written < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _numbered(name: str, number: int) -> str:
    """The name of the nth item of that name, short enough for its record."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - not of a path
    if len(os.fsencode(suffix)) > _SUFFIX_MAX:
        stem, suffix = name, ""
    more = (f" {number}" if number > 1 else "") + suffix
    most = _NAME_MAX - len(_SUFFIX) - len(os.fsencode(more))
    while len(os.fsencode(stem)) > most:
        stem = stem[:-1]
    return stem + more


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
