"""Leftovers of test runs that were killed: found by the owner in their names, and removed.

`python -m harness.sweep` does it by hand. Every process that starts machines also starts one `--janitor`,
which waits until its standard input ends, that is until the owner is gone by whatever means (also SIGKILL),
and then sweeps. If both are killed, the next test run sweeps when it starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import cgroups, host, owners

_janitors: dict[int, subprocess.Popen[bytes]] = {}


def sweep() -> list[str]:
    """Remove what dead owners left; what was removed. Processes are known by the control group that only we
    give them.
    """
    done = []
    folders = [*host.cache().glob("machines/*"), *host.cache().glob("layers/.*")]
    folders = [folder for folder in folders if owners.is_abandoned(folder.name)]
    for group in {*cgroups.abandoned(), *(group for folder in folders for group in _remembered(folder))}:
        if group.exists():
            cgroups.remove_tree(group)
            done.append(str(group))
    for folder in folders:
        remove_folder(folder)
        done.append(str(folder))
    return done


def remember(folder: Path, groups: list[Path]) -> None:
    """Note a machine's control groups in its folder: whoever sweeps may itself be in another group."""
    (folder / "groups").write_text("".join(f"{group}\n" for group in groups))


def _remembered(folder: Path) -> list[Path]:
    try:
        groups = [Path(line) for line in (folder / "groups").read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [group for group in groups if group.name == cgroups.PREFIX + folder.name]


def remove_folder(folder: Path) -> None:
    """Delete a machine's folder. Its overlay was mounted in a namespace that has ended; only a tmpfs can be
    left.
    """
    if os.path.ismount(folder / "disk"):
        subprocess.run([host.tool("umount"), "-l", str(folder / "disk")], check=True, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


def ensure_janitor() -> int:
    """Start it once per process; its pid. Its pipe closes by itself when this process ends."""
    if os.getpid() not in _janitors:
        _janitors[os.getpid()] = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.sweep", "--janitor", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and hang-up are not for the janitor
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "MANYLAB_TEST_CACHE": str(host.cache().absolute())},
        )
    return _janitors[os.getpid()].pid


def main(argv: list[str]) -> None:
    if argv[:1] == ["--janitor"]:
        owner = int(argv[1])
        started = owners.start_time(owner)
        sys.stdin.buffer.read()
        end = time.monotonic() + 30  # files close a moment before a process is gone
        while started and owners.start_time(owner) == started and time.monotonic() < end:
            time.sleep(0.02)
    for line in sweep():
        print("removed", line)


if __name__ == "__main__":
    main(sys.argv[1:])
