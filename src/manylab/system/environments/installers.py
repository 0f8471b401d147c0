"""uv, and what its failures mean to the person who waits."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from manylab.base.errors import CommandFailed, DiskFull, DownloadFailed, EnvironmentFailed
from manylab.system.environments.screen import Screen
from manylab.system.run import run

# Downloading the scientific set over a slow line takes a while; two hours is a line that is as good as dead.
BUILD_TIMEOUT = 2 * 3600.0

# Below the cache: what `install --bundle` unpacked.
BUNDLE = "bundle"
WHEELS_ONLY = ("--only-binary", ":all:")

# Bytes of a disk that no installer may take, or a fiftieth where that is less.
_KEEP_FREE = 256 << 20

_NETWORK_TROUBLE = re.compile(
    r"error sending request|dns error|Failed to fetch|Connection refused|timed out|tls handshake|certificate"
    r"|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|Could not connect|Network is unreachable",
    re.IGNORECASE,
)
_DISK_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)
_CONSTANT = ("--no-config", "--no-python-downloads", "--color", "never")

Say = Callable[[str], None]


def uv_program() -> str:
    """uv, as it came with the environment that this program itself runs in."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise EnvironmentFailed(
            "uv is not beside this program", hint="install manylab again; uv is one of its dependencies"
        )
    return found


def solve(
    requirements: Sequence[str],
    *,
    prefer: str,
    python: str,
    cache: Path,
    network: dict[str, str],
    say: Say,
    upgrade: Sequence[str] = (),
) -> str:
    """Solve requirements into a lock with hashes (pip's format, no addresses).

    prefer: an earlier lock, whose versions are kept wherever the requirements allow it. upgrade: packages for which
    they are not.

    Raises EnvironmentFailed with the solver's own reason, DownloadFailed when the registry cannot be reached.
    """
    say(f"solving {', '.join(requirements)}")
    options = ["--generate-hashes", "--no-header", "--no-annotate", "--python", python, *WHEELS_ONLY]
    options += [word for package in upgrade for word in ("--upgrade-package", package)]
    with tempfile.TemporaryDirectory(prefix="manylab-") as folder:
        # uv takes what stands in its output file as preferences.
        output = Path(folder) / "lock.txt"
        output.write_text(prefer, encoding="utf-8")
        text = "\n".join(requirements) + "\n"
        uv(["pip", "compile", "-", "--output-file", str(output), *options], cache, network, say, input=text)
        return output.read_text(encoding="utf-8")


def uv(arguments: Sequence[str], cache: Path, network: dict[str, str], say: Say, input: str | None = None) -> str:
    """Run uv to its end. Raises what `explain` makes of its failure.

    Where a bundle was unpacked, what is installed comes from there if it can, and what is solved if nothing else can
    be reached.
    """
    wheels = cache / BUNDLE / "wheels"
    ways = [network]
    if arguments[0] == "pip" and wheels.is_dir():
        offline = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
        without_index = {name: value for name, value in network.items() if "INDEX" not in name}
        ways.insert(1 if arguments[1] == "compile" else 0, without_index | offline)
    failed: list[Exception] = []
    for way in ways:
        try:
            return _uv(arguments, cache, way, say, input)
        except (EnvironmentFailed, DownloadFailed) as error:
            failed.append(error)
    # What the index said is of more use than that a bundle has not what nobody put into it.
    raise failed[ways.index(network)]


def _uv(arguments: Sequence[str], cache: Path, network: dict[str, str], say: Say, input: str | None) -> str:
    def progress(line: str) -> None:
        # One line a package is too much; what is downloaded, with its size, is what people wait for.
        if not line.lstrip().startswith(("+ ", "- ", "Using Python", "Using CPython")):
            say(line.strip())

    screen = Screen()

    def draw(text: str) -> None:
        if line := screen.feed(text, time.monotonic()):
            say(line)

    # Whoever looks on sees it move; uv draws for a terminal only.
    watched = input is None and sys.stderr.isatty()
    folder = cache / "uv"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        leave_room(cache)
        return run(
            [uv_program(), *arguments, *_CONSTANT, "--cache-dir", str(folder)],
            timeout=BUILD_TIMEOUT,
            env=network,
            input=input,
            ends_with_us=True,
            on_line=None if input is not None or watched else progress,
            on_screen=draw if watched else None,
            watch=lambda: leave_room(cache),
        ).out
    except CommandFailed as error:
        sweep_cache(folder)
        raise explain(error) from error
    except BaseException:
        sweep_cache(folder)
        raise


def leave_room(folder: Path) -> None:
    """Raises DiskFull while there is still some room: people's work is on the same disk more often than not."""
    disk = shutil.disk_usage(folder)
    keep = min(_KEEP_FREE, disk.total // 50)
    if disk.free < keep:
        raise disk_full(f"less than {keep >> 20} MB are free where {folder} is")


def sweep_cache(uv_cache: Path) -> None:
    """Remove what a uv that was ended has half downloaded or unpacked; the caller knows that none runs."""
    for path in (*uv_cache.glob(".tmp*"), *uv_cache.glob("*/.tmp*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_disk_full(text: str) -> bool:
    """Whether a program that ended so found the disk full."""
    return bool(_DISK_FULL.search(text))


def explain(error: CommandFailed) -> EnvironmentFailed | DownloadFailed | DiskFull:
    """The failure of an installer in the terms of the person who waits for it."""
    lines = [
        line
        for line in error.message.split(":", 1)[-1].splitlines()
        if line.strip() and not line.strip().startswith(("Using Python", "Using CPython"))
    ]
    text = "\n".join(lines).strip()
    if is_disk_full(text):
        return disk_full(text)
    if _NETWORK_TROUBLE.search(text):
        return DownloadFailed(
            f"a package registry could not be reached: {text}",
            hint="check the network; set HTTPS_PROXY, PIP_INDEX_URL and SSL_CERT_FILE, or [mirrors] in manylab.toml, "
            "then run it again",
        )
    return EnvironmentFailed(text, hint="what was in use is untouched")


def disk_full(text: str) -> DiskFull:
    """The error for a disk on which an environment found no place."""
    return DiskFull(f"the disk is full: {text}", hint="free some space, then run it again; what was in use still is")
