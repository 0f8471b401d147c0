"""Solves, fetches and builds environments of conda packages: what the rest of manylab calls.

uv does the pip part. It is given as a function, so that this needs nothing of how uv is found and started.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manylab.base.errors import DiskFull, DownloadFailed, EnvironmentFailed
from manylab.model.conda_lock import Lock, Package, check_channel, checked, is_conda, parse
from manylab.system.conda import described
from manylab.system.facts import PACKAGE
from manylab.system.files import scratch
from manylab.system.run import run

Say = Callable[[str], None]
# uv with these arguments and this standard input; raises EnvironmentFailed, DownloadFailed or DiskFull.
Uv = Callable[[Sequence[str]], None]

# A slow line and a gigabyte of packages; two hours is a line that is as good as dead.
_TIMEOUT = 2 * 3600.0
_WHEELS_ONLY = ("--only-binary", ":all:")
_FAILURES = {kind.__name__: kind for kind in (EnvironmentFailed, DownloadFailed, DiskFull)}
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from manylab.system.conda.worker import main; main()"


@dataclass(frozen=True)
class Wanted:
    """What is asked for. packages: conda's match specs. python: as in manylab.toml. pip: PEP 508 requirements."""

    channels: tuple[str, ...]
    packages: tuple[str, ...]
    python: str = ""
    pip: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[str, ...]:
        """The match specs to solve; Python is always among them."""
        return (f"python {self.python.replace(' ', '')}".strip(), *self.packages)


@dataclass(frozen=True)
class Site:
    """How this site reaches channels, and where it keeps what it fetched.

    cache: shared by all environments; only root writes it. network: variables for proxies and certificates, as
    `system.registries` finds them. mirrors: channel (name or address; "*" for all named ones) -> address of its mirror.
    silence: seconds without a byte after which a connection counts as dead. watch: what is asked now and then, with its
    pid, about the process that does the work; what it raises ends that.
    """

    cache: Path
    network: Mapping[str, str]
    mirrors: Mapping[str, str]
    uv: Uv
    # uv's own limit is 30; mirrors that fetch a package themselves first take longer.
    silence: float = 60.0
    watch: Callable[[], Callable[[int], None]] | None = None


def solve(wanted: Wanted, *, prefer: str, site: Site, say: Say, upgrade: Sequence[str] = ()) -> str:
    """The lock for what is wanted; versions of the lock `prefer` are kept wherever that is possible.

    upgrade: names of packages for which they are not.

    Raises EnvironmentFailed with the solver's own reason, DownloadFailed when a channel cannot be read.
    """
    for channel in wanted.channels:
        check_channel(channel)
    say(f"solving {', '.join(wanted.specs)}")
    earlier = parse(prefer) if is_conda(prefer) else None
    kept = earlier.packages if earlier else ()
    job = {
        "do": "solve",
        "channels": wanted.channels,
        "mirrors": dict(site.mirrors),
        "specs": wanted.specs,
        "prefer": [(one.name, one.version, one.build) for one in kept if one.name not in upgrade],
    }
    found = _work(job, site, say)
    packages = tuple(checked(one) for one in found["packages"])
    lock = Lock(found["platform"], packages)
    if wanted.pip:
        lock = Lock(
            lock.platform, packages, _solve_pip(wanted.pip, lock, earlier.pip if earlier else (), upgrade, site, say)
        )
    return lock.render()


def fetch(lock: str, *, site: Site, say: Say) -> list[Path]:
    """Download what a lock names into the cache, checked. Returns the archives; a build then needs no channel."""
    packages = parse(lock).packages
    job = {"do": "download", "mirrors": dict(site.mirrors), "silence": site.silence}
    return [Path(path) for path in _work({**job, "packages": [asdict(one) for one in packages]}, site, say)]


def build(lock: str, prefix: Path, *, site: Site, say: Say) -> list[str]:
    """Make the environment in the new folder `prefix`, which it then cannot leave: its path stands in its files.

    No code of a package runs. Returns what somebody should know, a sentence each. Raises EnvironmentFailed,
    DownloadFailed or DiskFull; what is half made is for the caller to remove.
    """
    parsed = parse(lock)
    fetch(lock, site=site, say=say)
    packages = [asdict(one) for one in parsed.packages]
    notes: list[str] = _work({"do": "link", "packages": packages, "prefix": str(prefix)}, site, say)
    if not (prefix / "bin/python").exists():
        raise EnvironmentFailed(
            "the environment has no bin/python when all its packages are in it",
            hint="the package python of these channels is not the usual one: use another channel",
        )
    if parsed.pip:
        _install_pip(parsed, prefix, site)
    for note in notes:
        say(f"conda: {note}")
    return notes


def _work(job: dict[str, Any], site: Site, say: Say) -> Any:
    """One job in a process of its own. Raises what it raised."""
    cache = site.cache / "conda"
    cache.mkdir(parents=True, exist_ok=True, mode=0o755)
    _sweep(cache)
    with scratch(site.cache) as folder:
        asked, answer = folder / "job.json", folder / "answer.json"
        # Not in argv: the address of a mirror may hold a password.
        asked.write_text(json.dumps({**job, "cache": str(cache), "answer": str(answer)}), encoding="utf-8")
        try:
            run(
                [sys.executable, "-I", "-B", "-c", _START, str(PACKAGE.parent), str(asked)],
                timeout=_TIMEOUT,
                env=site.network,
                cwd="/",
                ends_with_us=True,
                on_line=lambda line: say(line) if line.startswith("conda: ") else None,
                watch=site.watch() if site.watch is not None else None,
            )
        except BaseException:
            # What it was writing may be what filled the disk.
            _sweep(cache)
            raise
        said = json.loads(answer.read_text(encoding="utf-8"))
    if "failed" in said:
        raise _FAILURES[said["failed"]](said["message"], hint=said["hint"])
    return said["done"]


def _sweep(cache: Path) -> None:
    """Remove what a worker that was killed had half written; whoever uses the cache holds the site's lock."""
    for path in (*cache.glob("repodata/.tmp*"), *cache.glob("archives/*/.*.part"), *cache.glob("unpacked/.tmp*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _solve_pip(
    wanted: Sequence[str], lock: Lock, earlier: Sequence[str], upgrade: Sequence[str], site: Site, say: Say
) -> tuple[str, ...]:
    """The pip part, with hashes, for what conda brings, which is not in it again.

    First with exactly the versions that conda brings. The index may not have those, or not as wheels; then as if the
    pip part did not ask for them at all: whether they fit is seen when the environment is tried.
    """
    say(f"solving by pip {', '.join(wanted)}")
    brought = {_pip_name(one): one.version for one in lock.packages if one.is_python}
    with scratch(site.cache) as folder:
        files = {"wanted.in": wanted, "exact.txt": [f"{one}=={version}" for one, version in brought.items()]}
        for file, lines in {**files, "brought.txt": list(brought), "lock.txt": earlier}.items():
            (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        options = [
            str(folder / "wanted.in"),
            "--output-file",
            str(folder / "lock.txt"),
            "--python-version",
            lock.python,
            "--python",
            sys.executable,
        ]
        options += ["--generate-hashes", "--no-header", "--no-annotate", *_WHEELS_ONLY]
        options += [word for one in upgrade for word in ("--upgrade-package", one)]
        exactly = [word for one in brought for word in ("--no-emit-package", one)]
        try:
            site.uv(["pip", "compile", *options, *exactly, "--constraint", str(folder / "exact.txt")])
        except EnvironmentFailed:
            site.uv(["pip", "compile", *options, "--excludes", str(folder / "brought.txt")])
        text = (folder / "lock.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _install_pip(lock: Lock, prefix: Path, site: Site) -> None:
    """Wheels only, checked, and nothing beside them: what they need is either in the same part or from conda."""
    with scratch(site.cache) as folder:
        path = folder / "pip.txt"
        path.write_text("\n".join(lock.pip) + "\n", encoding="utf-8")
        python = described.interpreter(folder, prefix, lock.python)
        options = ["--require-hashes", "--no-deps", "--break-system-packages", *_WHEELS_ONLY]
        site.uv(["pip", "install", *options, "--python", str(python), "-r", str(path)])


def _pip_name(package: Package) -> str:
    return re.sub(r"[-_.]+", "-", package.name).lower()
