"""Pythons that the machine does not have: those that uv downloads, checked by the hashes that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manylab.base.errors import CommandFailed, DownloadFailed, EnvironmentFailed
from manylab.system.environments import share
from manylab.system.environments.installers import (
    BUILD_TIMEOUT,
    Say,
    Watch,
    disk_full,
    is_disk_full,
    uv_environment,
    uv_program,
)
from manylab.system.run import run


def ensure(python: str, *, folder: Path, cache: Path, network: Mapping[str, str], say: Say) -> None:
    """Download the interpreter `python` if it is one of `folder` and not there yet.

    Raises DownloadFailed where it cannot be had, EnvironmentFailed when what came is none, DiskFull.
    """
    path = Path(python)
    if not path.is_relative_to(folder) or path.exists():
        return
    # Its folder is named as uv names it: cpython-3.12-linux-x86_64-gnu.
    version = path.parents[1].name.split("-")[1]
    say(f"downloading Python {version}")
    (cache / "uv").mkdir(parents=True, exist_ok=True)
    words = ["python", "install", version, "--install-dir", str(folder), "--no-bin", "--no-config", "--color", "never"]
    try:
        run(
            [uv_program(), *words, "--cache-dir", str(cache / "uv")],
            timeout=BUILD_TIMEOUT,
            env=uv_environment(cache, network),
            cwd="/",
            ends_with_us=True,
            on_line=lambda line: say(line.strip()),
            watch=Watch(cache),
        )
    except CommandFailed as error:
        if is_disk_full(error.message):
            raise disk_full(f"Python {version} does not fit") from error
        raise DownloadFailed(
            f"Python {version} is not on this machine, and could not be downloaded: {error.message.split(': ', 1)[-1]}",
            hint="install it where everybody can run it (/usr/bin, /usr/local/bin), name a mirror in "
            'UV_PYTHON_INSTALL_MIRROR, or set backend = "conda", which brings its own',
        ) from error
    share.open_to_all(folder)
    if not path.exists():
        raise EnvironmentFailed(f"what was downloaded as Python {version} has no {path}", hint="choose another version")
