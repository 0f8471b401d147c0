"""Fetches packages into the cache, which takes nothing without the size and sha256 of the lock. Worker only."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from rattler import Client
from rattler.package_streaming import download_to_writer

from manylab.base.errors import DiskFull, DownloadFailed
from manylab.model.conda_lock import Package, checked
from manylab.system.conda.client import make_client, unreachable

ATTEMPTS = 4
AT_ONCE = 6
_CHUNK = 1 << 20


class _Wrong(Exception):
    """What came is not what the lock says; worth another try."""


class _TooMuch(_Wrong):
    """More bytes came than the lock says: no further attempt makes that right."""


@dataclass(frozen=True)
class _Source:
    """silence: seconds that a server may send nothing before the connection counts as dead."""

    client: Client
    silence: float


@dataclass
class _Checked:
    """Where a download is written to: counts and hashes on the way, and refuses the first byte too much."""

    file: BinaryIO
    limit: int
    count: int = 0
    last: float = field(default_factory=time.monotonic)
    total: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        """Called by rattler for each piece."""
        self.count += len(data)
        self.last = time.monotonic()
        if self.count > self.limit:
            raise _TooMuch(f"the server sends more than the {self.limit} bytes that it should have")
        self.total.update(data)
        return self.file.write(data)


def archive(cache: Path, package: Package) -> Path:
    """Where the cache keeps the archive of a package."""
    return cache / "archives" / package.sha256 / package.file


async def run(job: dict[str, Any]) -> list[str]:
    """The job `download`: packages, mirrors, cache. Returns where each package is, in the order of `packages`."""
    cache = Path(job["cache"])
    packages = [checked(one) for one in job["packages"]]
    missing = [one for one in packages if not await asyncio.to_thread(_is_good, archive(cache, one), one)]
    total = sum(one.size for one in missing)
    (cache / "archives").mkdir(parents=True, exist_ok=True)
    # Unpacked and linked it takes several times as much; this is only to say no before an hour of downloading.
    if total > shutil.disk_usage(cache).free:
        raise DiskFull(
            f"{len(missing)} packages of {shown(total)} do not fit on the disk of {cache}",
            hint="free some space, then run it again; what was in use still is",
        )
    if missing:
        _say(f"conda: downloading {len(missing)} of {len(packages)} packages, {shown(total)}")
    client = make_client(job["mirrors"])
    source = _Source(client, job["silence"])
    progress = _Progress(len(missing), total, time.monotonic())
    await _all(source, cache, missing, progress)
    return [str(archive(cache, one)) for one in packages]


async def _all(source: _Source, cache: Path, missing: Sequence[Package], progress: _Progress) -> None:
    """The largest first, several at a time; the first that fails ends all others."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(package: Package) -> None:
        async with gate:
            await _fetch(source, package, archive(cache, package))
            progress.done(package)

    tasks = [asyncio.create_task(one(package)) for package in sorted(missing, key=lambda p: -p.size)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _fetch(source: _Source, package: Package, target: Path) -> None:
    """From the start, a few times. Raises DownloadFailed or DiskFull."""
    wait = 0.5
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await _once(source, package, target)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"the disk is full: {package.file} does not fit",
                    hint="free some space, then run it again; what was in use still is",
                ) from error
            failure: Exception = error
        except (_Wrong, RuntimeError) as error:
            failure = error
        # A server's "no" (404, 403) stays one; so does a file that is larger than its record.
        if isinstance(failure, _TooMuch) or "client error" in str(failure):
            break
        if attempt < ATTEMPTS:
            _say(f"conda: {package.file}: {str(failure).splitlines()[0]}; trying again")
            await asyncio.sleep(wait)
            wait *= 2
    what = f"{package.file} of the channel {package.channel} could not be downloaded"
    if isinstance(failure, _Wrong):
        raise DownloadFailed(
            f"{what}: {failure}",
            hint="nothing was kept. If it stays like that, the channel or its mirror is damaged, or somebody changes "
            "what it sends: use another mirror (mirrors.channels), or solve again",
        ) from failure
    raise unreachable(what, failure) from failure


async def _once(source: _Source, package: Package, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            writer = _Checked(file, package.size)
            if package.url.startswith("file://"):
                await asyncio.to_thread(_copy, package, writer)
            else:
                await _watched(source, package, writer)
            file.flush()
            os.fsync(file.fileno())
        if writer.count != package.size:
            raise _Wrong(f"{writer.count} bytes came instead of {package.size}")
        if writer.total.hexdigest() != package.sha256:
            raise _Wrong("its sha256 is not that of the channel's repodata")
        part.chmod(0o644)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


async def _watched(source: _Source, package: Package, writer: _Checked) -> None:
    """A download that ends when nothing comes any more. A limit for the whole would end a large one on a slow line."""
    task = asyncio.ensure_future(download_to_writer(source.client, package.url, writer))
    try:
        while not task.done():
            left = writer.last + source.silence - time.monotonic()
            if left <= 0:
                raise _Wrong(f"the server sent nothing for {source.silence:g} seconds")
            await asyncio.wait({task}, timeout=left)
        task.result()
    finally:
        task.cancel()


def _copy(package: Package, writer: _Checked) -> None:
    with Path(unquote(urlsplit(package.url).path)).open("rb") as source:
        while data := source.read(_CHUNK):
            writer.write(data)


def _is_good(path: Path, package: Package) -> bool:
    """Whether the cache has the archive, whole: disks and people damage files, too."""
    try:
        if path.stat().st_size != package.size:
            return False
        total = hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                total.update(data)
    except OSError:
        return False
    return total.hexdigest() == package.sha256


@dataclass
class _Progress:
    """Says how far it is, at most once a second."""

    count: int
    total: int
    started: float
    packages: int = 0
    size: int = 0
    said: float = 0.0

    def done(self, package: Package) -> None:
        """One more package is in the cache."""
        self.packages += 1
        self.size += package.size
        now = time.monotonic()
        if self.packages == self.count or now - self.said >= 1:
            self.said = now
            rate = shown(int(self.size / max(now - self.started, 0.001)))
            _say(
                f"conda: {self.packages} of {self.count} packages, {shown(self.size)} of {shown(self.total)}, {rate}/s"
            )


def shown(size: int) -> str:
    """Bytes for people: 12.3 MiB."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
