"""uv, and what its failures mean to the person who waits."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from manylab.base.errors import CommandFailed, DiskFull, DownloadFailed, EnvironmentFailed, ManylabError
from manylab.system.environments.screen import Screen
from manylab.system.files import scratch
from manylab.system.run import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Downloading the scientific set over a slow line takes a while; two hours is a line that is as good as dead.
BUILD_TIMEOUT = 2 * 3600.0

# Below the cache: what `install --bundle` unpacked.
BUNDLE = "bundle"
WHEELS_ONLY = ("--only-binary", ":all:")

# Bytes of a disk, and of memory, that no installer may take, or a fiftieth where that is less.
_KEEP_FREE = 256 << 20
# Resident bytes that no installer needs: the solver of conda with all of conda-forge in it stays below two gigabytes.
_LARGEST = 4 << 30
# What brings less than this in so many seconds is as good as dead: bytes a second, and of a processor.
_SLOWEST, _IDLE, _PATIENCE = 1024, 0.02, 120.0

_NETWORK_TROUBLE = re.compile(
    r"error sending request|dns error|Missing `Content-Type`|Failed to fetch|Connection refused|timed out|tls handshake"
    r"|certificate|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|Could not connect|Network is unreachable",
    re.IGNORECASE,
)
# As the solver says it of what an index has, and of what was given by its address.
_SOURCE = re.compile(r"building from source is disabled|Building source distributions .* is disabled")
_DISK_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)
_CONSTANT = ("--no-config", "--no-python-downloads", "--color", "never")

NETWORK_HINT = (
    "check the network; set HTTPS_PROXY, PIP_INDEX_URL and SSL_CERT_FILE, or [mirrors] in manylab.toml, "
    "then run it again"
)

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


def uv_environment(cache: Path, network: Mapping[str, str]) -> dict[str, str]:
    """For uv: what it keeps beside its cache (locks, mostly) goes below ours; in root's home it would stay."""
    return {**network, "XDG_DATA_HOME": str(cache / "uv-data")}


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
    with scratch(cache) as folder:
        # uv takes what stands in its output file as preferences.
        output = folder / "lock.txt"
        output.write_text(prefer, encoding="utf-8")
        text = "\n".join(requirements) + "\n"
        uv(["pip", "compile", "-", "--output-file", str(output), *options], cache, network, say, input=text)
        return output.read_text(encoding="utf-8")


def download_sizes(lock: str, *, python: str, cache: Path, network: dict[str, str]) -> dict[str, int]:
    """name -> bytes of the wheel of each package in a lock, as far as uv knows from solving.

    Only its other format says it. Nothing is asked over the network: an index that fell silent would hold up a build.
    """
    with scratch(cache) as folder:
        wanted, output = folder / "lock.txt", folder / "pylock.toml"
        wanted.write_text(lock, encoding="utf-8")
        options = ["--format", "pylock.toml", "--no-deps", "--no-header", "--offline", "--python", python]
        try:
            words = ["pip", "compile", str(wanted), "--output-file", str(output), *options, *WHEELS_ONLY]
            uv(words, cache, network, lambda line: None)
            said = tomllib.loads(output.read_text(encoding="utf-8"))
        except (ManylabError, OSError, ValueError):
            return {}
    found = {}
    for package in said.get("packages", ()):
        sizes = [wheel["size"] for wheel in package.get("wheels", ()) if isinstance(wheel.get("size"), int)]
        if sizes:
            found[str(package["name"])] = sizes[0]
    return found


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
            env=uv_environment(cache, network),
            # uv runs the Python of a .venv in the folder that it is started in, or above: that may be anybody's.
            cwd="/",
            input=input,
            ends_with_us=True,
            on_line=None if input is not None or watched else progress,
            on_screen=draw if watched else None,
            watch=Watch(cache, _patience(network)),
        ).out
    except CommandFailed as error:
        sweep_cache(folder)
        raise explain(error) from error
    except BaseException:
        sweep_cache(folder)
        raise


def _patience(network: dict[str, str]) -> float:
    """Seconds: who lets uv wait longer for an answer means it."""
    try:
        return max(_PATIENCE, 2 * float(network.get("UV_HTTP_TIMEOUT", "0")))
    except ValueError:
        return _PATIENCE


def leave_room(folder: Path) -> None:
    """Raises DiskFull while there is still some room: people's work is on the same disk more often than not."""
    disk = shutil.disk_usage(folder)
    keep = min(_KEEP_FREE, disk.total // 50)
    if disk.free < keep:
        raise disk_full(f"less than {keep >> 20} MB are free where {folder} is")


class Watch:
    """Looks after a program that downloads: called with its pid now and then, raises why it must be ended.

    That is when the disk or the memory is nearly full (an index page, or a package, without end), or when for
    _PATIENCE seconds it has written next to nothing and computed next to nothing: a server that sends a byte now and
    then keeps within every limit for one answer.
    """

    def __init__(self, folder: Path, patience: float | None = None) -> None:
        self._folder, self._patience = folder, _PATIENCE if patience is None else patience
        self._since, self._written, self._computed = time.monotonic(), 0, 0.0

    def __call__(self, pid: int) -> None:
        leave_room(self._folder)
        _leave_memory(pid)
        now = time.monotonic()
        if now - self._since < self._patience or (done := _done(pid)) is None:
            return
        written, computed = done
        if written - self._written < _SLOWEST * self._patience and computed - self._computed < _IDLE * self._patience:
            said = f"a package registry sent next to nothing for {self._patience:g} s"
            raise DownloadFailed(said, hint=NETWORK_HINT)
        self._since, self._written, self._computed = now, written, computed


def _done(pid: int) -> tuple[int, float] | None:
    """What a program has done so far: bytes written, seconds of a processor. None when it cannot be seen."""
    try:
        io = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        written = next(int(line.split()[1]) for line in io.splitlines() if line.startswith("wchar:"))
        # proc(5): utime, stime and those of its children, 12 to 15 after the name, which may hold anything.
        ticks = sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    except (OSError, ValueError, StopIteration):
        return None
    return written, ticks / os.sysconf("SC_CLK_TCK")


def _leave_memory(pid: int) -> None:
    """Raises EnvironmentFailed while there is still some memory: what the kernel ends then may be somebody's work."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        said = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
        total, free = said["MemTotal"], said["MemAvailable"]
        used = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, LookupError):
        return
    if used > _LARGEST:
        raise EnvironmentFailed(
            f"what the package index or channel sends takes more than {_LARGEST >> 30} GB of memory",
            hint="what was in use is untouched; use another index or channel: no real one is that large",
        )
    keep = min(_KEEP_FREE, total // 50)
    if free < keep:
        raise EnvironmentFailed(
            f"less than {keep >> 20} MB of memory are free",
            hint="what was in use is untouched; end what uses much (manylab top), then run it again",
        )


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
            hint=NETWORK_HINT,
        )
    if _SOURCE.search(text):
        return EnvironmentFailed(
            text,
            hint="nothing was changed; a package that is published as source alone can be built in a sandbox: run it "
            "again with --source, or name it in envs.NAME.source",
        )
    return EnvironmentFailed(
        text,
        hint="nothing was changed; check the names and versions of the packages, then run it again (with --dry-run it "
        "only solves)",
    )


def disk_full(text: str) -> DiskFull:
    """The error for a disk on which an environment found no place."""
    return DiskFull(f"the disk is full: {text}", hint="free some space, then run it again; what was in use still is")
