"""Turns match specs into exact packages. Worker only."""

from __future__ import annotations

import datetime
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rattler import (
    Channel,
    ChannelPriority,
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    RepoDataRecord,
    Subdir,
    VirtualPackage,
    solve,
)
from rattler.exceptions import (
    DetectVirtualPackageError,
    FetchRepoDataError,
    GatewayError,
    InvalidMatchSpecError,
    SolverError,
)

from manylab.base.errors import EnvironmentFailed
from manylab.system.conda.client import address, make_client, unreachable

# conda-forge with a hard request takes about ten seconds; ten minutes is a solver that has lost its way.
_TIME = datetime.timedelta(minutes=10)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """The job `solve`: channels, mirrors, specs, prefer ([name, version, build] each), cache."""
    channels = [Channel(address(one)) for one in job["channels"]]
    specs = _whole([_spec(text) for text in job["specs"]])
    platform = Subdir.current()
    gateway = Gateway(cache_dir=Path(job["cache"]) / "repodata", client=make_client(job["mirrors"]))
    platforms = [platform, Subdir("noarch")]
    print(f"conda: reading {', '.join(job['channels'])}", file=sys.stderr, flush=True)
    try:
        preferred = await _earlier(gateway, channels, platforms, job["prefer"])
        records = await solve(
            channels,
            specs,
            gateway=gateway,
            platforms=platforms,
            locked_packages=preferred,
            virtual_packages=_machine(),
            channel_priority=ChannelPriority.Strict,
            channel_relations="disabled",
            timeout=_TIME,
        )
    except SolverError as error:
        raise EnvironmentFailed(
            str(error).strip(),
            hint="change the packages or the channels of the environment; what was in use is untouched",
        ) from error
    except (GatewayError, FetchRepoDataError, OSError) as error:
        raise unreachable("a conda channel could not be read", error) from error
    return {"platform": str(platform), "packages": [_told(record) for record in records]}


def _spec(text: str) -> MatchSpec:
    try:
        return MatchSpec(text, strict=False)  # as conda reads it: name=1.0=build, ==3.12.*
    except InvalidMatchSpecError as error:
        raise EnvironmentFailed(
            f"{text!r} is not a package that conda understands: {str(error).splitlines()[0]}",
            hint='such as "numpy", "numpy>=2", "numpy=1.26.*" or "pytorch=2.*=cpu_*"',
        ) from error


def _whole(specs: Sequence[MatchSpec]) -> list[MatchSpec]:
    """The specs, and each name without a version beside them.

    A channel counts as having a package only as far as rattler has looked: with the version alone, a package that the
    first channel has in other versions would be taken from the second, where somebody may have put it for that.
    """
    return [*specs, *(MatchSpec(spec.name.normalized) for spec in specs if spec.channel is None)]


def _machine() -> Sequence[GenericVirtualPackage]:
    """What this machine has to offer: __linux, __glibc, __archspec, __cuda..."""
    try:
        return [one.into_generic() for one in VirtualPackage.detect()]
    except DetectVirtualPackageError as error:
        raise EnvironmentFailed(f"this machine cannot be told apart from others: {error}") from error


async def _earlier(
    gateway: Gateway, channels: Sequence[Channel], platforms: Sequence[Subdir], prefer: Sequence[Sequence[str]]
) -> list[RepoDataRecord]:
    """The records of an earlier lock, as far as the channels still have them."""
    wanted = {tuple(one) for one in prefer}
    if not wanted:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = await gateway.query(
            channels, platforms, sorted({one[0] for one in wanted}), recursive=False, channel_relations="disabled"
        )
    return [
        record
        for records in found
        for record in records
        if (record.name.normalized, str(record.version), str(record.build)) in wanted
    ]


def _told(record: RepoDataRecord) -> dict[str, Any]:
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "subdir": record.subdir,
        "channel": (record.channel or "").rstrip("/"),
        "url": os.fspath(record.url),
        "sha256": record.sha256.hex() if record.sha256 else "",
        "size": record.size,
        "dependencies": list(record.depends),
    }
