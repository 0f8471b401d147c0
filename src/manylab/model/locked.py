"""What a lock says about versions, whichever backend it is for. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from manylab.model import conda_lock

_PINNED = re.compile(r"^([A-Za-z0-9._-]+) ?(?:==|@ )([^\s;\\]+)[ ]*(?:;([^\\\n]+))?", re.MULTILINE)


def versions(lock: str, python: str = "") -> dict[str, str]:
    """Name -> version of everything in a lock that is for machines like this. python: the minor version that it is for;
    without it, of several for different Pythons the first.
    """
    if conda_lock.is_conda(lock):
        return {canonicalize_name(name): version for name, version in conda_lock.versions(lock).items()}
    found: dict[str, str] = {}
    for name, version, marker in _PINNED.findall(lock):
        if marker and not _applies(marker, python):
            continue
        found.setdefault(canonicalize_name(name), _of_file(version) if "/" in version else version)
    return found


def _of_file(url: str) -> str:
    """The version of a package that was given as a file or an address: as its name says it, else the address itself."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        return str(parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1])
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return url


def _applies(marker: str, python: str) -> bool:
    """Whether what a marker says of the system holds here, and of that Python (any, without one)."""
    try:
        parsed = Marker(marker.strip())
    except InvalidMarker:
        return True
    minors = [python] if python else [f"3.{minor}" for minor in range(9, 16)]
    said = ({"python_version": minor, "python_full_version": f"{minor}.0", "extra": ""} for minor in minors)
    return any(parsed.evaluate(one) for one in said)
