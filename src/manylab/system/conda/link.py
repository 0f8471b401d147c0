"""Puts packages from the cache into an environment's folder. Worker only."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rattler import PackageCache, RepoDataRecord, ValidationMode, install
from rattler.exceptions import ExtractError, InstallerError, LinkError, TransactionError

from manylab.base.errors import DiskFull, EnvironmentFailed
from manylab.model.conda_lock import Package, checked
from manylab.system.conda.archive import Contents, check_together, look
from manylab.system.conda.client import reason
from manylab.system.conda.download import archive, shown

_AT_ONCE = 4


async def run(job: dict[str, Any]) -> list[str]:
    """The job `link`: packages, cache, prefix. Returns what somebody should know, a sentence each."""
    cache, prefix = Path(job["cache"]), Path(job["prefix"])
    packages = [checked(one) for one in job["packages"]]
    contents = await _look_at_all(cache, packages)
    check_together(contents, _site_packages(contents))
    print(
        f"conda: linking {len(packages)} packages, {shown(sum(one.size for one in contents))}",
        file=sys.stderr,
        flush=True,
    )
    await _install(cache, prefix, packages)
    _name_origins(prefix, packages)
    return [
        f"{one.package.name} {one.package.version} comes with {', '.join(sorted(one.scripts))}, which conda would run; "
        "it was not run"
        for one in contents
        if one.scripts
    ]


async def _look_at_all(cache: Path, packages: Sequence[Package]) -> list[Contents]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(package: Package) -> Contents:
        async with gate:
            return await look(archive(cache, package), package)

    return list(await asyncio.gather(*(one(package) for package in packages)))


def _site_packages(contents: Sequence[Contents]) -> str:
    for one in contents:
        if one.package.name == "python":
            minor = ".".join(one.package.version.split(".")[:2])
            return one.site_packages or f"lib/python{minor}/site-packages"
    raise EnvironmentFailed(
        "there is no Python among the packages of this environment", hint="add python to its packages"
    )


async def _install(cache: Path, prefix: Path, packages: Sequence[Package]) -> None:
    """By rattler, from the archives that were looked into: with their own addresses it could download others."""
    records = []
    for package in packages:
        record = await RepoDataRecord.from_package_archive(archive(cache, package))
        if record.sha256 is None or record.sha256.hex() != package.sha256:
            raise EnvironmentFailed(f"{package.file} changed in the cache while it was used", hint="run it again")
        records.append(record)
    # Full: what stands unpacked in the cache is compared with its hashes each time; a power cut can leave empty files.
    unpacked = PackageCache.new_layered([cache / "unpacked"], validation_mode=ValidationMode.full())
    try:
        await install(
            records,
            prefix,
            package_cache=unpacked,
            installed_packages=[],
            execute_link_scripts=False,
            show_progress=False,
        )
    except (InstallerError, LinkError, TransactionError, ExtractError, OSError) as error:
        text = reason(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in text:
            raise DiskFull(
                f"the disk is full: {text}", hint="free some space, then run it again; what was in use still is"
            ) from error
        raise EnvironmentFailed(text, hint="what was in use is untouched") from error


def _name_origins(prefix: Path, packages: Sequence[Package]) -> None:
    """conda-meta names the channel of each package, not our cache: that is what `conda list` shows."""
    for package in packages:
        path = prefix / "conda-meta" / f"{package.name}-{package.version}-{package.build}.json"
        said = json.loads(path.read_text(encoding="utf-8"))
        said.update(url=package.url, channel=package.channel, fn=package.file)
        new = path.with_name(f".{path.name}.new")
        new.write_text(json.dumps(said, indent=2), encoding="utf-8")
        new.replace(path)
