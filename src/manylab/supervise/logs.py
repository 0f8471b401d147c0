"""Log files of the services: appended to by the services themselves, cut when they grow, shown when something fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from manylab.base.errors import Refused
from manylab.base.logs import keep_end

_KEPT_LINE = 400  # characters of a line that are shown


def open_log(path: Path) -> int:
    """A descriptor for a service's output. Each write goes to the end, also after the file was cut."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    fd = os.open(path, flags, 0o640)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(f"{path} is not a file", hint="remove what is there")
    os.set_blocking(fd, True)
    return fd


def rotate(path: Path, size: int) -> bool:
    """Keep its end in an older copy once the file is larger than `size` bytes."""
    try:
        return keep_end(path, size)
    except OSError:  # it must not end the supervisor
        return False


def last_lines(path: Path, count: int = 5) -> list[str]:
    """The end of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line[:_KEPT_LINE] for line in lines if line.strip()][-count:]


class Tail:
    """Follows one log for `--verbose`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self) -> list[str]:
        """The whole lines that were added since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                new = file.read(1 << 20)
        except OSError:
            return []
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]
