"""Many people at once: names from a file, and the file that their generated passwords are written to."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from manylab.base.errors import BadName, DiskFull, ManylabError, NotFound, Refused

# 16 characters of 56 that are not mistaken for each other: 93 bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def generate_password() -> str:
    """A password that can be read aloud and typed."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(16))


def read_names(path: Path, check: Callable[[str], str]) -> list[str]:
    """The names in a file, one on each line; each name once, in the order of the file.

    Windows' line ends, a byte order mark (UTF-8 or UTF-16), empty lines and lines that begin with # are fine. check:
    raises BadName or Refused for a text that cannot be a name. Raises one BadName for all lines that are wrong, and
    NotFound for a file that cannot be read.
    """
    try:
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise NotFound(
            f"{path} cannot be read: {error.strerror}", hint="give a file with one name on each line"
        ) from None
    except UnicodeDecodeError:
        raise BadName(f"{path} is not text in UTF-8", hint="save it as a text file in UTF-8") from None
    found: dict[str, None] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        try:
            found[check(name)] = None
        except ManylabError as error:
            wrong.append(f"line {number}: {error.message}")
    if wrong:
        raise BadName(f"{path}: " + "; ".join(wrong), hint="correct these lines and run it again: nobody was added")
    if not found:
        raise NotFound(f"there is no name in {path}", hint="write one name on each line")
    return list(found)


def _decoded(data: bytes) -> str:
    # Windows' editors write a byte order mark; Notepad's "Unicode" is UTF-16.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


class PasswordFile:
    """A new CSV file, readable by its owner only, with one account and its generated password on each line.

    It is made by the first line. A line is on the disk before the account has that password, so an interruption loses
    no password.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> PasswordFile:
        if self.path.exists() or self.path.is_symlink():
            raise Refused(f"{self.path} is there already", hint="choose another name for the file of passwords")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk did not take was reported
                self._file.close()

    @property
    def written(self) -> bool:
        """Whether there was any password."""
        return self._file is not None

    def write(self, account: str, password: str) -> None:
        """Add a line. Raises DiskFull, or Refused where no file can be made."""
        try:
            if self._file is None:
                # O_EXCL: nobody else's file, and no link of somebody who guessed the name.
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb")
                # The byte order mark has Excel read the file as UTF-8.
                self._file.write("\ufeff".encode() + _line("account", "password"))
            self._file.write(_line(account, password))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Refused
            raise kind(
                f"the password of {account} cannot be written to {self.path}: {error.strerror}",
                hint=f"{account} was left as before; run it again with another file: --passwords FILE",
            ) from None


def _line(*cells: str) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
