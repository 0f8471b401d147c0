"""The files of a person as the Lab sees them: Jupyter's own, with a trash that works and quick listings."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from jupyter_core.paths import is_hidden  # type: ignore[import-not-found,unused-ignore]
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError

from manylab.lab import languages, sentences
from manylab.lab.trash import NoRoom, TooLarge, Trash

# Seconds between two looks for what has been in the trash for too long; the first when a start is long over.
_EVERY: Final = 86400.0
_FIRST: Final = 300.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Contents(AsyncLargeFileManager):  # type: ignore[misc]
    """Deletes to the trash in the home, whatever the file system, and lists a folder in one go."""

    async def delete_file(self, path: str) -> None:
        """Move it to the trash, a folder with all that is in it; a link, not what it leads to. Raises HTTPError."""
        if not self.delete_to_trash:
            await super().delete_file(path)
            return
        path = path.strip("/")
        place = self._get_os_path(path)
        if not self.allow_hidden and is_hidden(place, self.root_dir):
            raise HTTPError(400, f"Cannot delete file or directory {place!r}")
        if not os.path.lexists(place):
            raise HTTPError(404, f"File or directory does not exist: {place}")
        trash = Trash(Path.home())
        try:
            await asyncio.to_thread(trash.put, Path(place))
        except TooLarge:
            raise HTTPError(
                400, f"{path} is on another file system and too large for the trash. Delete it in a terminal: rm -r"
            ) from None
        except NoRoom:
            raise HTTPError(507, sentences.no_room_for_trash(path, languages.of_sentences())) from None
        except PermissionError as error:
            raise HTTPError(403, f"{path} cannot be deleted: {error.strerror}") from error
        except OSError as error:
            raise HTTPError(400, f"{path} cannot be moved to the trash ({trash.folder}): {error}") from error

    async def _dir_model(self, path: str, content: bool = True) -> dict[str, Any]:
        """As Jupyter's own, without a dozen looks at each file, one after another in other threads."""
        model: dict[str, Any] = await super()._dir_model(path, content=False)
        if content:
            folder = self._get_os_path(path)
            model["content"] = await asyncio.to_thread(lambda: list(self._entries(folder, path.strip("/"))))
            model["format"] = "json"
        return model

    def _entries(self, folder: str, path: str) -> Iterator[dict[str, Any]]:
        with os.scandir(folder) as found:
            for entry in found:
                if (self.allow_hidden or not entry.name.startswith(".")) and self.should_list(entry.name):
                    try:
                        model = self._entry(entry, path)
                    except OSError:  # it is gone, or a loop of links, or of a file system that does not answer for it
                        continue
                    if model is not None:
                        yield model

    def _entry(self, entry: os.DirEntry[str], path: str) -> dict[str, Any] | None:
        """What the Lab is told of one file or folder; None for those that it does not show."""
        status = entry.stat(follow_symlinks=False)
        folder = entry.is_dir()
        if not folder and not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            return None
        if folder and not self.allow_hidden and not os.access(entry.path, os.X_OK | os.R_OK):
            return None
        kind = "directory" if folder else "notebook" if entry.name.endswith(".ipynb") else "file"
        return {
            "name": entry.name,
            "path": f"{path}/{entry.name}" if path else entry.name,
            "last_modified": _moment(status.st_mtime),
            "created": _moment(getattr(status, "st_birthtime", None) or status.st_ctime),
            "content": None,
            "format": None,
            "mimetype": mimetypes.guess_type(entry.path)[0] if kind == "file" else None,
            "size": None if folder else status.st_size,
            "writable": os.access(entry.path, os.W_OK),
            "hash": None,
            "hash_algorithm": None,
            "type": kind,
        }


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return _EPOCH


def age(environ: Mapping[str, str]) -> float | None:
    """Seconds that things stay in the trash; None for ever, 0 where there is none. Pure."""
    text = environ.get("MANYLAB_TRASH", "")
    return float(text) if text else None


def empty_daily(server: Any, home: Path, environ: Mapping[str, str]) -> None:
    """Have this server remove what people's servers put in the trash too long ago, in a thread of its own, a while
    after its start and then every day. What a desktop put there, or nothing is known of, stays.
    """
    longest = age(environ)
    if not longest:
        return
    loop, trash = IOLoop.current(), Trash(home)

    async def empty() -> None:
        loop.call_later(_EVERY, empty)
        try:
            count = await asyncio.to_thread(trash.empty_by_age, time.time() - longest)
        except OSError as error:
            server.log.warning("The trash (%s) could not be looked at: %s", trash.folder, error)
            return
        if count:
            server.log.info("Removed %d items from the trash that were older than %g days", count, longest / 86400)

    loop.call_later(_FIRST, empty)
