"""Environments of conda packages, beside those of uv: how one is made, and what is different about it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from manylab.base.errors import EnvironmentFailed
from manylab.config import conda_packages
from manylab.model.conda_lock import parse
from manylab.model.resources import Environment
from manylab.system.conda import backend
from manylab.system.environments import record, share
from manylab.system.environments.caged import account, caged
from manylab.system.environments.distributions import Distribution
from manylab.system.environments.installers import BUILD_TIMEOUT, Say, Watch, uv
from manylab.system.environments.share import COMPILE
from manylab.system.files import write_file
from manylab.system.run import run

# Byte code of one module is smaller than this, bytes.
_LARGEST = 64 << 20


def site(cache: Path, network: Mapping[str, str], channels: Mapping[str, str], say: Say) -> backend.Site:
    """How the backend reaches channels here, with uv for the pip part."""
    variables = dict(network)

    def by_uv(arguments: object) -> None:
        uv([str(one) for one in arguments], cache, variables, say)  # type: ignore[attr-defined]

    return backend.Site(cache, variables, channels, by_uv, watch=lambda: Watch(cache))


def install(want: Environment, where: backend.Site, say: Say) -> None:
    """Everything of the lock, into the folder of this generation.

    Packages may have files that anybody can write; the folder is closed until there are none.
    """
    want.path.mkdir(mode=0o700)
    backend.build(want.lock, want.path, site=where, say=say)
    for name in (record.MARKER, record.LOCK):
        if os.path.lexists(want.path / name):
            raise EnvironmentFailed(
                f"a package brings {name}, which belongs to the environment itself", hint="leave that package out"
            )
    write_file(want.path / record.LOCK, want.lock, 0o644)
    share.open_to_all(want.path)


def compile_new(want: Environment, builder: str) -> None:
    """Compile what has no byte code, with the environment's own interpreter: its version may be one that this machine
    has not. That is a package's code, so it runs in the cage, and what it wrote is taken over as plain data.
    """
    library = record.site_packages(want.path).parent
    who = account(builder)
    program = [str(want.path / "bin/python"), "-I", "-S"]
    words = ["-m", "compileall", *COMPILE, str(library)]
    if who is None:
        run([*program, *words], timeout=BUILD_TIMEOUT, check=False, ends_with_us=True)
        return
    # Beside the generation, where the cage can be reached; without a marker, so that it is swept.
    folder = want.path.with_name(f".compiled-{want.digest}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.chown(folder, who.uid, who.gid)
    try:
        inside = caged([*program, "-X", f"pycache_prefix={folder}", *words], want, folder, who)
        run(inside, timeout=BUILD_TIMEOUT, check=False, ends_with_us=True)
        _take_over(folder / library.relative_to("/"), library)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(compiled: Path, library: Path) -> None:
    for directory, _, files in os.walk(compiled):
        place = library / Path(directory).relative_to(compiled)
        for name in files:
            source = place / (name.split(".")[0] + ".py")
            target = place / "__pycache__" / name
            if not name.endswith(".pyc") or not source.is_file() or os.path.lexists(target):
                continue
            content = _read(Path(directory, name))
            if content is not None and not place.is_symlink():
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content)


def _read(path: Path) -> bytes | None:
    """A plain file's content; whatever else may lie there is left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return None
        return file.read(_LARGEST)


def modules(want: Environment, packages: Mapping[str, Distribution]) -> dict[str, str]:
    """What has to be importable, by conda's package: module -> package.

    conda's names are others ("py-opencv"), not everything that it brings is Python, and some has no metadata.
    """
    asked = {conda_packages.name(one) for one in want.requirements}
    found: dict[str, str] = {}
    for package, files in record.conda_packages(want.path):
        if package not in asked:
            continue
        inside = [file.partition("/site-packages/")[2].split("/") for file in files]
        known = [parts[0] for parts in inside if len(parts) == 2 and parts[0].endswith(".dist-info")]
        names = [canonicalize_name(folder.split("-")[0]) for folder in known]
        imports = [module for name in names if name in packages for module in packages[name].imports]
        if not known:
            imports = [parts[0].removesuffix(".py") for parts in inside if _is_module(parts)]
        found |= dict.fromkeys(imports, package)
    return found


def _is_module(parts: list[str]) -> bool:
    """Whether a path below site-packages is a module's own file: "maps.py", "maps/__init__.py"."""
    plain = (len(parts) == 1 and parts[0].endswith(".py")) or (len(parts) == 2 and parts[1] == "__init__.py")
    name = parts[0].removesuffix(".py")
    return plain and name.isidentifier() and not name.startswith("_")


def full_version(want: Environment) -> str:
    """Of the environment's Python, as the lock has it."""
    return parse(want.lock).python
