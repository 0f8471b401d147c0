"""Logs that somebody else writes, as much as they like: kept near a size, in bounded time and space."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_CHUNK = 1 << 20


def keep_end(path: Path, limit: int) -> bool:
    """Empty a log of more than `limit` bytes; its last ones, as many, go to `.1`. Whether it was. Raises OSError.

    It is copied and cut, not renamed: whoever writes it has it open for appending and need not be told. They can also
    make it as long as they like without writing anything (ftruncate(2)): such holes are not copied. A full disk is no
    reason to keep what filled it.
    """
    log = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(log)
        if not stat.S_ISREG(found.st_mode) or found.st_size <= limit:
            return False
        with contextlib.suppress(OSError):
            _copy_end(log, found.st_size, path.with_name(path.name + ".1"), limit)
        os.ftruncate(log, 0)
    finally:
        os.close(log)
    return True


def _copy_end(log: int, size: int, older: Path, limit: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(older, flags, 0o640), "wb") as copy:
        os.fchmod(copy.fileno(), 0o640)
        place, end = size - limit, size
        while place < end:
            place = os.lseek(log, place, os.SEEK_DATA)  # OSError: nothing but a hole follows
            data = os.pread(log, min(_CHUNK, end - place), place)
            if not data:
                return
            copy.write(data)
            place += len(data)
