"""The lock of a conda environment: each package by address, sha256, size and build, and the pip part. Pure.

JSON, one package a line, sorted by name, so that two locks can be compared by eye and by diff. The fields are named as
conda-lock names them; its own format (YAML) has no place for sizes and builds, and rattler's changes with rattler.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from manylab.base.errors import EnvironmentFailed

FORMAT = 1
_MARK = "manylab_conda_lock"

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9_.!+-]{1,128}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.!+-]{0,300}\.(?:conda|tar\.bz2)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEMES = ("https", "http", "file")
# Two terabytes: more than any package; keeps sums far from overflow.
_LARGEST = 2 << 40


@dataclass(frozen=True)
class Package:
    """One package, exactly. size: bytes of the archive. url: at the channel itself, not at a mirror."""

    name: str
    version: str
    build: str
    subdir: str
    channel: str
    url: str
    sha256: str
    size: int
    dependencies: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The name of the archive."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def is_python(self) -> bool:
        """Whether it is (as far as its dependencies show) a package of Python modules."""
        return any(re.match(r"python(?:_abi)?(?:[ =<>!~]|$)", one) for one in self.dependencies)


@dataclass(frozen=True)
class Lock:
    """Everything in a conda environment. pip: lines of a requirements file with hashes."""

    platform: str
    packages: tuple[Package, ...]
    pip: tuple[str, ...] = field(default=())

    def render(self) -> str:
        """The text of the lock: the same for the same packages, in whatever order they came."""
        packages = [json.dumps(asdict(one), ensure_ascii=True) for one in sorted(self.packages, key=lambda p: p.name)]
        pip = [json.dumps(line) for line in self.pip]
        return (
            f'{{\n"{_MARK}": {FORMAT},\n"platform": {json.dumps(self.platform)},\n'
            f'"package": [\n{_lines(packages)}],\n"pip": [\n{_lines(pip)}]\n}}\n'
        )

    def package(self, name: str) -> Package | None:
        """The package of that name."""
        return next((one for one in self.packages if one.name == name), None)

    @property
    def python(self) -> str:
        """The version of Python, such as "3.12.4". Raises EnvironmentFailed when there is none."""
        found = self.package("python")
        if found is None:
            raise EnvironmentFailed(
                "there is no Python among the packages of this environment", hint="add python to its packages"
            )
        return found.version


def _lines(items: Iterable[str]) -> str:
    joined = ",\n".join(items)
    return joined + "\n" if joined else ""


def is_conda(text: str) -> bool:
    """Whether a lock is of a conda environment; uv's locks are requirements files."""
    return text.startswith("{") and f'"{_MARK}"' in text[:200]


def versions(text: str) -> dict[str, str]:
    """name -> version of everything in a lock, the pip part too."""
    lock = parse(text)
    pip = (re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line) for line in lock.pip)
    return {one.name: one.version for one in lock.packages} | {found[1]: found[2] for found in pip if found}


def parse(text: str) -> Lock:
    """A lock from its text, every field checked again. Raises EnvironmentFailed."""
    try:
        data = json.loads(text)
        if data[_MARK] != FORMAT:
            raise EnvironmentFailed(
                f"this lock has format {data[_MARK]}, and this version of manylab reads format {FORMAT}",
                hint="solve it again with `manylab env build`",
            )
        packages = tuple(checked(one) for one in data["package"])
        pip = tuple(str(line) for line in data["pip"])
        lock = Lock(str(data["platform"]), packages, pip)
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFailed("the lock of the environment is damaged", hint="solve it again") from error
    if len({one.name for one in lock.packages}) != len(lock.packages):
        raise EnvironmentFailed("the lock of the environment names a package twice", hint="solve it again")
    return lock


def checked(said: Mapping[str, Any]) -> Package:
    """A package as a channel describes it, or EnvironmentFailed naming package and channel.

    sha256 is a must: md5 alone proves nothing any more.
    """
    name, channel = str(said.get("name") or "?"), str(said.get("channel") or "?")
    who = f"the package {name[:128]} of the channel {without_credentials(channel)}"
    if not _SHA256.fullmatch(str(said.get("sha256") or "")):
        raise EnvironmentFailed(
            f"{who} has no sha256 in the channel's repodata: what is downloaded could not be checked",
            hint="ask whoever runs the channel to index it again (conda-index), or leave the package out",
        )
    size = said.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _LARGEST:
        raise EnvironmentFailed(
            f"{who} has no size in the channel's repodata: a download without an end could not be told from it",
            hint="ask whoever runs the channel to index it again (conda-index, rattler-index)",
        )
    url, subdir = str(said.get("url")), str(said.get("subdir"))
    version, build = str(said.get("version")), str(said.get("build"))
    _check_address(who, url, channel, subdir)
    for what, value, rule in (("name", name, _NAME), ("version", version, _VERSION), ("build string", build, _VERSION)):
        if not rule.fullmatch(value) or ".." in value:
            raise EnvironmentFailed(f"{who} has a {what} that no package can have", hint="do not use this channel")
    dependencies = tuple(str(one) for one in said.get("dependencies") or ())
    return Package(name, version, build, subdir, channel, url, str(said["sha256"]), size, dependencies)


def _check_address(who: str, url: str, channel: str, subdir: str) -> None:
    """The archive stands where channels keep their packages: nowhere else, and not in the local file system."""
    parts = urlsplit(url)
    expected = f"{channel.rstrip('/')}/{subdir}/"
    usual = url.startswith(expected) and _FILE.fullmatch(url.removeprefix(expected)) and ".." not in parts.path
    if not usual or parts.scheme not in _SCHEMES or subdir not in (*_SUBDIRS, "noarch"):
        raise EnvironmentFailed(
            f"{who} has an address outside its channel: {without_credentials(url)}",
            hint="do not use this channel, or name the channel that the packages really come from",
        )


_SUBDIRS = ("linux-64", "linux-aarch64", "linux-ppc64le", "linux-s390x", "linux-riscv64", "linux-armv7l")


def check_channel(channel: str) -> None:
    """A channel's address has no password or token: it stands in the lock, which everybody may read."""
    if channel != without_credentials(channel):
        raise EnvironmentFailed(
            f"the channel {without_credentials(channel)} is given with a password or token, which would be in the lock",
            hint="leave it out of channels; it belongs into the address of the mirror ([mirrors]), or into ~/.netrc",
        )


def without_credentials(text: str) -> str:
    """A text with the user names, passwords and tokens of the addresses in it left out."""
    text = re.sub(r"(?<=://)[^/\s@]+@", "***@", text)
    return re.sub(r"/t/[A-Za-z0-9_-]+/", "/t/***/", text)
