"""Facts of the machine that a nursery remembers: what its programs and libraries have read when they were imported.

One that changes makes the nursery an old one: it is replaced, and until then a start is a cold one, which sees the
machine as it is. What is looked up anew each time is not here: accounts, programs on PATH, the number of processors,
/etc/hosts, and /etc/resolv.conf and /etc/nsswitch.conf, which the C library reads again when they change.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# What changes -> files and folders whose change shows it. Of a folder, entries that come and go count.
FACTS: Final[dict[str, tuple[str, ...]]] = {
    # Security updates too: whatever is installed into a folder of libraries runs ldconfig.
    "shared libraries": ("/etc/ld.so.cache", "/etc/ld.so.preload"),
    # The C library keeps /etc/localtime; zoneinfo, dateutil and pandas the zones that were asked for.
    "time zones": ("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo"),
    "locales": ("/usr/lib/locale", "/usr/lib/locale/locale-archive", "/etc/locale.alias"),
    # tornado and aiohttp make an SSL context when they are imported; OpenSSL reads its settings then.
    "certificates": ("/etc/ssl/certs", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/openssl.cnf"),
    "addresses": ("/etc/gai.conf", "/etc/host.conf"),
    "types of files": ("/etc/mime.types",),
}
# Each folder below these as well: matplotlib keeps a list of fonts.
TREES: Final[dict[str, tuple[str, ...]]] = {
    "fonts": ("/usr/share/fonts", "/usr/local/share/fonts", "/etc/fonts"),
}
_MOST: Final = 2000  # folders of a tree: who has more has a cold start too few

_Stamp = tuple[int, int, int, int]


class Facts:
    """What the machine was like at one moment. python: the interpreter of a nursery."""

    def __init__(self, python: Path, root: Path = Path("/")) -> None:
        self._stamps = {path: (name, _stamp(path)) for name, path in _watched(python, root)}

    def changed(self) -> str | None:
        """What of it is different now; None when all is as it was."""
        for path, (name, stamp) in self._stamps.items():
            if _stamp(path) != stamp:
                return f"{name} ({path})"
        return None


def _watched(python: Path, root: Path) -> Iterator[tuple[str, str]]:
    for facts, walked in ((FACTS, False), (TREES, True)):
        for name, paths in facts.items():
            for path in paths:
                place = f"{root}{path}" if root != Path("/") else path
                yield name, place
                if walked:
                    yield from ((name, folder) for folder in _below(place))
    # An interpreter that was exchanged (apt upgrade) would import modules of another version.
    with contextlib.suppress(OSError, RuntimeError):
        real = python.resolve(strict=True)
        yield "Python", str(real)
        yield "Python", str(real.parents[1] / "lib" / real.name)


def _below(top: str) -> list[str]:
    found: list[str] = []
    for folder, names, _ in os.walk(top):
        found += [f"{folder}/{name}" for name in names]
        if len(found) > _MOST:
            break
    return found[:_MOST]


def _stamp(path: str) -> _Stamp | None:
    """Of the file itself and, where it is a link, of what it leads to; None where there is nothing.

    By what nothing sets back (ctime), and not by what an archive brings (mtime).
    """
    try:
        link, found = os.lstat(path), os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return link.st_ino, link.st_ctime_ns, found.st_ino, found.st_ctime_ns
