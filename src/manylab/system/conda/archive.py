"""Looks into an archive before anything of it is unpacked, and refuses what could reach out of the environment.

Worker only.

rattler takes care when it unpacks; it links what info/paths.json says without asking, so that is read here, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rattler.package_streaming import PackageArchive

from manylab.base.errors import EnvironmentFailed
from manylab.model.conda_lock import Package, without_credentials

# Real packages unpack to some 20 times their size at most; small ones of text to more.
_GROWTH, _FREE = 100, 1 << 30
_MEMBERS = 2_000_000
_INFO_LIMIT = 256 << 20
_NEEDED = ("info/index.json", "info/paths.json", "info/files", "info/link.json")
_SITE_PACKAGES = re.compile(r"lib/python3\.[0-9]{1,3}t?/site-packages")
_LINK_SCRIPT = re.compile(r"bin/\.[^/]+-(?:pre|post)-(?:un)?link\.sh")


@dataclass
class Contents:
    """What an archive holds. links: where each leads to. scripts: what conda would run."""

    package: Package
    size: int = 0
    links: dict[str, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    noarch_python: bool = False
    site_packages: str = ""


async def look(path: Path, package: Package) -> Contents:
    """Read the table of an archive. Raises EnvironmentFailed for what is damaged or dangerous."""
    found = Contents(package)
    info: dict[str, bytes] = {}
    try:
        archive = await PackageArchive.from_path(path)
        for section, limit in (("info", _INFO_LIMIT), ("pkg", package.size * _GROWTH + _FREE)):
            size = count = 0
            async for entry in archive.stream("info" if section == "info" else "pkg"):
                size, count = size + entry.size, count + 1
                if size > limit or count > _MEMBERS:
                    raise refusal(package, f"it would unpack to more than {limit >> 20} MiB")
                name = clean(package, entry.name)
                if entry.is_link:
                    found.links[name] = _target(package, name, entry.link_target or "", hard=entry.is_hardlink)
                if _LINK_SCRIPT.fullmatch(name):
                    found.scripts.append(name)
                if name in _NEEDED and name not in info:
                    info[name] = await entry.read()
            found.size += size
    except (OSError, ValueError, RuntimeError) as error:
        raise refusal(package, f"it cannot be unpacked: {str(error).splitlines()[0]}") from error
    try:
        _read(found, info)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refusal(package, "its description of itself cannot be read") from error
    return found


def refusal(package: Package, why: str) -> EnvironmentFailed:
    """The package will not be installed."""
    return EnvironmentFailed(
        f"{package.file} of the channel {without_credentials(package.channel)} is refused: {why}",
        hint="nothing of it was installed; leave the package out, or do not use this channel",
    )


def clean(package: Package, path: str) -> str:
    """A path inside the package, in one spelling."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path:
        raise refusal(package, f"it has a file that would be outside of the environment: {path[:200]!r}")
    if parts[0] == "conda-meta":
        raise refusal(package, f"it has a file among the records of what is installed: {path[:200]!r}")
    return "/".join(parts)


def _target(package: Package, name: str, target: str, *, hard: bool) -> str:
    """Where a link leads to, inside the package.

    ".." may only stand at the beginning: further on it would be counted from wherever another link leads.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    base = [] if hard else name.split("/")[:-1]
    if not target or target.startswith("/") or ".." in parts[ups:] or ups > len(base) or "\0" in target:
        raise refusal(package, f"its link {name[:200]} leads out of the environment, to {target[:200]!r}")
    return "/".join([*base[: len(base) - ups], *parts[ups:]])


def _read(found: Contents, info: dict[str, bytes]) -> None:
    package = found.package
    index = json.loads(info["info/index.json"])
    for what in ("name", "version", "build"):
        if str(index[what]).lower() != str(getattr(package, what)).lower():
            raise refusal(package, f"it says of itself that its {what} is {str(index[what])[:100]!r}")
    found.noarch_python = index.get("noarch") == "python"
    found.site_packages = str(index.get("python_site_packages_path") or "")
    if found.site_packages and not _SITE_PACKAGES.fullmatch(found.site_packages):
        raise refusal(package, f"it puts Python's modules into {found.site_packages[:200]!r}")
    if "info/paths.json" in info:
        for path in _paths(json.loads(info["info/paths.json"])):
            clean(package, path)
    for line in info.get("info/files", b"").decode().splitlines():
        if line.strip():
            clean(package, line.strip())
    if "info/link.json" in info:
        for entry in (json.loads(info["info/link.json"]).get("noarch") or {}).get("entry_points") or ():
            command = str(entry).split("=", 1)[0].strip()
            if not re.fullmatch(r"[A-Za-z0-9_.+][A-Za-z0-9_.+ -]*", command) or command in (".", ".."):
                raise refusal(package, f"it has a command with the name {command[:200]!r}")


def _paths(said: Any) -> Iterable[str]:
    for entry in said["paths"]:
        yield str(entry["_path"])


def check_together(all_contents: Sequence[Contents], site_packages: str) -> None:
    """No link stands behind another link, whoever's: it would lead elsewhere than where it was seen to lead."""
    links: dict[str, Contents] = {}
    for contents in all_contents:
        for name in contents.links:
            links[_installed(name, contents, site_packages)] = contents
    for name, contents in links.items():
        parents = ("/".join(name.split("/")[:depth]) for depth in range(1, name.count("/") + 1))
        if behind := next((parent for parent in parents if parent in links), None):
            raise refusal(contents.package, f"its link {name[:200]} stands behind another link, {behind[:200]}")


def _installed(name: str, contents: Contents, site_packages: str) -> str:
    """Where a file of a package ends up in the environment: noarch packages do not know Python's version."""
    if contents.noarch_python:
        for folder, place in (("site-packages/", site_packages + "/"), ("python-scripts/", "bin/")):
            if name.startswith(folder):
                return place + name.removeprefix(folder)
    return name
