"""Wheels of packages that are published as source alone, for those who ask for them by name (`envs.NAME.source`).

Building one runs the package's code. That is done in the cage: by an account without power, without network, with what
the build needs already there, as wheels. What comes out is a wheel like any other, kept, and locked by its hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from manylab.base.errors import CommandFailed, DownloadFailed, EnvironmentFailed
from manylab.model.facts import Python
from manylab.model.resources import Environment
from manylab.system.advisories import opener, pieces
from manylab.system.environments.caged import account, caged
from manylab.system.environments.installers import (
    NETWORK_HINT,
    WHEELS_ONLY,
    Say,
    Watch,
    explain,
    solve,
    uv,
    uv_environment,
    uv_program,
)  # fmt: skip
from manylab.system.files import scratch
from manylab.system.run import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Source archives and wheels are megabytes; data sets have no business in them, bytes.
_LARGEST = 1 << 30
# Compiling something large takes its time; seconds.
_BUILDING = 3600.0
# What a source that says nothing of it is built with (PEP 517).
_USUAL = ("setuptools>=40.8.0", "wheel")


@dataclass(frozen=True)
class Source:
    """One release as the index has it. sha256: "" where the index says none."""

    name: str
    version: str
    url: str
    sha256: str


def make_wheels(
    wanted: Mapping[str, str],
    *,
    python: Python,
    store: Path,
    cache: Path,
    network: Mapping[str, str],
    builder: str,
    say: Say,
    afresh: bool = False,
) -> None:
    """See to it that `store` has a wheel of each package (name -> requirement) for which the index has only source.

    afresh: not satisfied with an older one that is there. builder: the account that builds when this is root. Raises
    EnvironmentFailed, DownloadFailed or DiskFull.
    """
    for name, requirement in wanted.items():
        if not afresh and _has(store, Requirement(requirement), python):
            continue
        source = _find(requirement, python, cache, network)
        if source is None or _has(store, Requirement(f"{name}=={source.version}"), python):
            continue
        say(f"building {name} {source.version} from source")
        with _folder(cache) as folder:
            _keep(_build(source, folder, python, cache, dict(network), builder, say), source, store)


def _has(store: Path, requirement: Requirement, python: Python) -> bool:
    """Whether one of the wheels that were built will do."""
    minor = tuple(map(int, python.minor.split(".")))
    tags = {*cpython_tags(minor), *compatible_tags(minor)}
    for path in store.glob("*.whl"):
        with contextlib.suppress(InvalidWheelFilename):
            name, version, _, its_tags = parse_wheel_filename(path.name)
            fits = requirement.specifier.contains(version, prereleases=True) and not tags.isdisjoint(its_tags)
            if name == canonicalize_name(requirement.name) and fits:
                return True
    return False


def _find(requirement: str, python: Python, cache: Path, network: Mapping[str, str]) -> Source | None:
    """The release that fits, None where it has a wheel.

    uv chooses it, as it chooses wheels. It would run a source to hear what it needs; it is told that it needs nothing.
    """
    name = canonicalize_name(Requirement(requirement).name)
    with scratch(cache) as folder:
        settings, output = folder / "uv.toml", folder / "pylock.toml"
        settings.write_text(f'dependency-metadata = [{{ name = "{name}", requires-dist = [] }}]\n', encoding="utf-8")
        options = ["--no-deps", "--no-header", "--format", "pylock.toml", "--python", python.path]
        words = ["pip", "compile", "-", *options, "--config-file", str(settings), "--output-file", str(output)]
        words += ["--no-python-downloads", "--color", "never", "--cache-dir", str(cache / "uv")]
        try:
            environment = uv_environment(cache, network)
            run(
                [uv_program(), *words],
                env=environment,
                input=requirement + "\n",
                timeout=600,
                cwd="/",
                watch=Watch(cache),
            )
        except CommandFailed as error:
            raise explain(error) from error
        said = tomllib.loads(output.read_text(encoding="utf-8"))
    package: dict[str, Any] = next(one for one in said["packages"] if canonicalize_name(one["name"]) == name)
    archive = package.get("sdist") or package.get("archive")
    if package.get("wheels") or not archive:
        return None
    url = str(archive.get("url") or Path(archive["path"]).absolute().as_uri())
    return Source(name, str(package["version"]), url, str(archive.get("hashes", {}).get("sha256", "")))


@contextlib.contextmanager
def _folder(cache: Path) -> Iterator[Path]:
    """Where one is built: not in the cache, which is closed, nor in /tmp, which is another one in the cage."""
    folder = place(cache)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(cache: Path) -> Path:
    """Where sources are built."""
    return cache.with_name("building")


def _build(
    source: Source, folder: Path, python: Python, cache: Path, network: dict[str, str], builder: str, say: Say
) -> Path:
    archive = folder / PurePosixPath(unquote(urlsplit(source.url).path)).name
    _download(source, archive, network)
    needed = build_requirements(archive)
    environment = folder / "python"
    lock = folder / "lock.txt"
    lock.write_text(solve(needed, prefer="", python=python.path, cache=cache, network=network, say=say), "utf-8")
    uv(["venv", "--quiet", "--no-project", "--python", python.path, str(environment)], cache, network, say)
    options = ["--require-hashes", *WHEELS_ONLY, "--python", str(environment / "bin/python")]
    uv(["pip", "sync", *options, str(lock)], cache, network, say)
    work = folder / "work"
    work.mkdir(mode=0o700)
    who = account(builder)
    if who is not None:
        os.chown(work, who.uid, who.gid)
    program = [uv_program(), "build", "--wheel", "--no-build-isolation", "--offline", "--no-config", "--color", "never"]
    program += ["--no-python-downloads", "--python", str(environment / "bin/python"), "--cache-dir", str(work / "uv")]
    program += ["--out-dir", str(work / "out"), str(archive)]
    inside = Environment("source", environment, "", python.path, python.minor, "")
    try:
        run(
            caged(program, inside, work, who),
            timeout=_BUILDING,
            ends_with_us=True,
            cwd="/",
            watch=Watch(cache, _BUILDING),
        )
    except CommandFailed as error:
        # The program is named by its whole text.
        why = error.message.partition(" ended with ")[2] or "it did not finish within an hour"
        raise EnvironmentFailed(
            f"{source.name} {source.version} could not be built from source: {why}",
            hint="what was in use is untouched; a compiler or headers may be missing on this machine "
            "(apt install build-essential python3-dev), or the build wants a network, which it does not get",
        ) from error
    found = list((work / "out").glob("*.whl"))
    if len(found) != 1:
        raise EnvironmentFailed(
            f"building {source.name} gave {len(found)} wheels instead of one",
            hint="nothing was changed; leave that package out, or ask for another version",
        )
    return found[0]


def _download(source: Source, target: Path, network: Mapping[str, str]) -> None:
    total, size = hashlib.sha256(), 0
    try:
        with opener(network).open(source.url, timeout=60) as answer, target.open("wb") as file:
            for data in pieces(answer):
                size += len(data)
                total.update(data)
                if size > _LARGEST:
                    raise DownloadFailed(
                        f"the source of {source.name} is larger than a gigabyte",
                        hint="nothing was changed; leave that package out, or ask for another version",
                    )
                file.write(data)
    except (URLError, OSError, ValueError) as error:
        raise DownloadFailed(
            f"the source of {source.name} could not be downloaded: {error}", hint=NETWORK_HINT
        ) from error
    if source.sha256 and total.hexdigest() != source.sha256:
        raise EnvironmentFailed(
            f"the source of {source.name} {source.version} is not what the index promised (another sha256)",
            hint="nothing of it was run; use another mirror, or tell those who run it",
        )
    target.chmod(0o644)


def build_requirements(archive: Path) -> tuple[str, ...]:
    """What a source needs to be built, as its pyproject.toml says; nothing is unpacked, nothing run."""
    try:
        text = _pyproject(archive)
        said = tomllib.loads(text).get("build-system", {}) if text else {}
        needed = [str(Requirement(one)) for one in said.get("requires", _USUAL)]
    except (OSError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise EnvironmentFailed(
            f"{archive.name} is no source of a package: {error}",
            hint="nothing was changed; leave that package out, or ask for another version",
        ) from error
    # Older setuptools need it, and say so only when they are run.
    more = ["wheel"] if "setuptools" in {Requirement(one).name for one in needed} else []
    return tuple(dict.fromkeys([*needed, *more]))


def _pyproject(archive: Path) -> str:
    """The file at the top of a source, "" without one."""

    def is_it(name: str) -> bool:
        parts = PurePosixPath(name).parts
        return len(parts) == 2 and parts[1] == "pyproject.toml"

    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            names = [one.filename for one in opened.infolist() if is_it(one.filename) and one.file_size < 1 << 20]
            return opened.read(names[0]).decode() if names else ""
    with tarfile.open(archive) as tar:
        for member in _members(tar):
            if is_it(member.name) and member.isreg() and member.size < 1 << 20:
                file = tar.extractfile(member)
                return file.read().decode() if file is not None else ""
    return ""


def _members(opened: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    """As they come, and no more than a source could have: the archive may be small and unpack to anything."""
    size = 0
    for member in opened:
        size += member.size
        if size > 4 * _LARGEST:
            raise ValueError("it unpacks to more than four gigabytes")
        yield member


def _keep(built: Path, source: Source, store: Path) -> None:
    """Take over what was built as plain data. A wheel that is there stays: locks have its hash."""
    try:
        name, version, _, _ = parse_wheel_filename(built.name)
        descriptor = os.open(built, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (InvalidWheelFilename, InvalidSdistFilename, OSError) as error:
        raise EnvironmentFailed(
            f"building {source.name} gave no wheel: {error}",
            hint="nothing was changed; leave that package out, or ask for another version",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        right = name == source.name and version == Version(source.version)
        if not right or not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise EnvironmentFailed(
                f"building {source.name} gave something else: {built.name}",
                hint="nothing was changed; leave that package out, or ask for another version",
            )
        store.mkdir(parents=True, exist_ok=True)
        target = store / built.name
        if not target.exists():
            part = store / f".{built.name}.part"
            with part.open("wb") as copy:
                shutil.copyfileobj(file, copy)
                copy.flush()
                os.fsync(copy.fileno())
            part.chmod(0o644)
            part.replace(target)


def reachable(store: Path, network: Mapping[str, str]) -> dict[str, str]:
    """The network, with what was built."""
    return {**network, "UV_FIND_LINKS": str(store)} if store.is_dir() else dict(network)


def names(sources: Sequence[str], requirements: Sequence[str]) -> dict[str, str]:
    """name -> requirement of the packages that may be built: with the limits that `packages` has for them.

    Raises EnvironmentFailed for one that is given by its address.
    """
    found: dict[str, str] = {}
    for text in sources:
        wish = Requirement(text)
        name = canonicalize_name(wish.name)
        limits = [Requirement(one) for one in requirements if canonicalize_name(Requirement(one).name) == name]
        specifier = wish.specifier
        for one in (wish, *limits):
            if one.url:
                raise EnvironmentFailed(
                    f"{name} is given by its address, and only what an index has is built from source",
                    hint=f"put it into an index (envs.NAME.indexes; a folder is one), and name it: {name}",
                )
            specifier &= one.specifier
        found[name] = f"{name}{specifier}"
    return found
