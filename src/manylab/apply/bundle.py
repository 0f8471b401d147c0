"""A site as one file: what goes into it, and what is taken over from one."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import manylab
from manylab.apply.site import Site
from manylab.base.errors import BundleFailed, NotFound, Refused
from manylab.base.layout import Layout
from manylab.config import edit, walk
from manylab.model import environments
from manylab.model.conda_lock import is_conda, parse
from manylab.model.resources import CONDA, Directory, Environment
from manylab.system import locks as system_locks
from manylab.system.bundles import opening, packing
from manylab.system.conda import backend
from manylab.system.environments import Say, conda, record
from manylab.system.environments.installers import disk_full
from manylab.system.facts import launcher
from manylab.system.files import make_directory, write_file
from manylab.system.run import run

SETTINGS = "manylab.toml"
# Settings that hold for one machine alone.
_OF_THIS_MACHINE = ("https", "mirrors")


@dataclass(frozen=True)
class Made:
    """A bundle. digest: sha256 of its manifest. size: bytes."""

    path: Path
    digest: str
    size: int
    glibc: str
    pythons: tuple[str, ...]


def make(site: Site, target: Path, say: Say) -> Made:
    """Write everything that this site is made of into one file. Raises NotFound for a site that was not built yet, and
    what downloads raise; nothing is left of a bundle that did not come to its end.
    """
    envs = [item for item in site.resources if isinstance(item, Environment)]
    proxy = next((one for one in envs if one.npm is not None), None)
    if site.unsolved or proxy is None or not (proxy.path / record.MARKER).exists():
        raise NotFound("this site has not been built yet", hint="'manylab apply' builds it; then make the bundle")
    for one in envs:
        here = None if is_conda(one.lock) else re.search(r"^(\S+) @ file:", one.lock, re.MULTILINE)
        if here is not None:
            raise Refused(
                f"{here[1]} in {one.name} is a file of this machine, which another one will not have",
                hint="put the wheel into an index (mirrors.pypi), and ask for the package by its name",
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a gigabyte does not fit into every /tmp.
    with tempfile.TemporaryDirectory(prefix=".manylab-bundle-", dir=target.parent) as name:
        folder = Path(name)
        packing.program(launcher(), folder)
        tool = system_locks.text("tool.txt")
        first = environments_python(site)
        say("collecting the command line")
        packing.wheels(tool, first, folder / "wheels", site.network, say)
        for one in envs:
            say(f"collecting {one.name}")
            if is_conda(one.lock):
                _conda(site, one.lock, folder, say)
            else:
                packing.wheels(one.lock, one.python, folder / "wheels", site.network, say)
        packing.npm(proxy.path, record.site_packages(proxy.path), folder / "npm", site.network, say)
        for request in site.asked:
            if not request.shipped or site.locks[request.name] != system_locks.shipped(request.shipped):
                path = folder / "locks" / request.name / f"{request.digest}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(site.locks[request.name], encoding="utf-8")
        (folder / SETTINGS).write_text(shareable(site.config_text), encoding="utf-8")
        pythons = tuple(sorted({one.python_minor for one in envs if not is_conda(one.lock)}))
        glibc = packing.glibc(folder / "wheels")
        digest = packing.write(folder, target, version=manylab.__version__, pythons=pythons, say=say)
    return Made(target, digest, target.stat().st_size, glibc, pythons)


def environments_python(site: Site) -> str:
    """The machine's interpreter for manylab's own environments."""
    return next(one for one in site.asked if one.name == environments.HUB).python.path


def shareable(text: str) -> str:
    """manylab.toml without secrets, and without what holds for one machine alone."""
    for setting in walk.settings():
        key = walk.dotted(setting.path)
        if walk.NAME not in setting.path and (setting.secret or setting.path[0] in _OF_THIS_MACHINE):
            text = edit.unset(text, key)
    return text


def _conda(site: Site, lock: str, folder: Path, say: Say) -> None:
    where = conda.site(site.layout.cache, site.network, site.channel_mirrors, say)
    packages = parse(lock).packages
    for package, archive in zip(packages, backend.fetch(lock, site=where, say=say), strict=True):
        target = folder / CONDA / "archives" / package.sha256 / package.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, target)
    pip = "\n".join(parse(lock).pip)
    if pip:
        python = next(one for one in site.facts.pythons)
        minor = ".".join(parse(lock).python.split(".")[:2])
        packing.wheels(pip, python.path, folder / "wheels", site.network, say, minor=minor)


def adopt(layout: Layout, file: Path, say: Say) -> Path:
    """Check a bundle, unpack it, and take over its locks and, where there is none, its manylab.toml.

    Raises BundleFailed before anything is changed; run again, it goes on. The caller holds the site's lock.
    """
    make_directory(Directory(layout.cache))
    try:
        folder = opening.unpack(file, layout.cache, Path(opening.__file__).parents[2] / "locks", say)
    except opening.BadBundle as error:
        raise BundleFailed(error.message, hint=error.hint) from error
    except OSError as error:
        raise disk_full(str(error)) from error
    for path in sorted((folder / "locks").glob("*/*.txt")):
        target = layout.env_locks / path.parent.name / path.name
        make_directory(Directory(target.parent))
        write_file(target, path.read_text(encoding="utf-8"), 0o644)
    for path in sorted((folder / CONDA / "archives").glob("*/*")):
        target = layout.cache / CONDA / "archives" / path.parent.name / path.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "--reflink=auto", "--", str(path), f"{target}.part"])
            Path(f"{target}.part").replace(target)
    if not layout.config_file.exists():
        make_directory(Directory(layout.config_file.parent))
        write_file(layout.config_file, (folder / SETTINGS).read_text(encoding="utf-8"), 0o600)
    return folder
