"""Subordinate uids (subuid(5)): with user namespaces one person can be 65536 uids more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

FILE: Final = Path("/etc/subuid")


def lines(file: Path) -> list[str]:
    """Those of /etc/subuid; none where it is not there."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def owner(uid: int, subordinates: Iterable[str]) -> str | None:
    """The account that this uid was given to, as the file has it: a name, or a number as text. Pure."""
    for line in subordinates:
        name, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.isdigit() and int(first) <= uid < int(first) + int(count):
            return name
    return None
