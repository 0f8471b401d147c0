"""The machine itself: disks, memory, clock, terminals."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from manylab.base.errors import CommandFailed
from manylab.cli.doctor.scene import Scene
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.system import asking
from manylab.system.run import run

MIB, GIB = 1 << 20, 1 << 30
TMP = Path("/tmp")  # noqa: S108  (that very folder, and nothing is made in it)
# A generation of all environments is about 1.5 GB; below that, `apply` after an upgrade cannot build beside the old
# ones.
ROOM_FOR_A_GENERATION = 2 * GIB
NOTHING_LEFT = 256 * MIB
# JupyterLab with one kernel and pandas is about 250 MB; hub, proxy and warden another 250.
LITTLE_MEMORY = 2 * GIB
FUTURE = 300.0  # seconds; less is a network file system whose server has another clock


@dataclass(frozen=True)
class Disk:
    """A file system. used_for: which of our folders are on it. inodes are 0 where there is no fixed number (btrfs)."""

    used_for: str
    free: int
    size: int
    inodes_free: int = 0
    inodes: int = 0


def judge_space(disk: Disk) -> Finding | None:
    """Pure."""
    free = f"{disk.free / GIB:.1f} GiB of {disk.size / GIB:.0f} GiB are free for {disk.used_for}"
    if disk.free < NOTHING_LEFT:
        return problem(f"the disk is full: {free}")
    if disk.free < min(ROOM_FOR_A_GENERATION, disk.size // 10):
        return warning(f"the disk is nearly full: {free}")
    return None


def judge_inodes(disk: Disk) -> Finding | None:
    """Pure."""
    if not disk.inodes:
        return None
    text = f"{disk.inodes_free} of {disk.inodes} inodes are free for {disk.used_for}"
    if disk.inodes_free < disk.inodes // 100:
        return problem(f"no more files can be made: {text}")
    return warning(f"soon no more files can be made: {text}") if disk.inodes_free < disk.inodes // 20 else None


def judge_memory(total: int, swap: int) -> Finding | None:
    """Pure."""
    if total >= LITTLE_MEMORY:
        return None
    text = (
        f"this machine has {total / GIB:.1f} GiB of memory and {'no' if not swap else f'{swap / GIB:.1f} GiB of'} swap"
    )
    return warning(text) if swap < LITTLE_MEMORY - total else None


def disks(scene: Scene) -> list[Disk]:
    """Each file system once, with what it is used for."""
    layout = scene.layout
    folders = {
        "the program": layout.program,
        "the state": layout.state,
        "homes": Path("/home") if layout.system else Path.home(),
        str(TMP): TMP,
    }
    uses: dict[int, list[str]] = {}
    at: dict[int, list[int]] = {}
    for name, folder in folders.items():
        with contextlib.suppress(asking.NoAnswer):  # `home-silent` says so
            device, *room = asking.ask(lambda folder=folder: _space(folder))  # type: ignore[misc]
            at[device] = room
            uses.setdefault(device, []).append(name)
    return [Disk(", ".join(names), *at[device]) for device, names in uses.items()]


def _space(folder: Path) -> list[int]:
    """Device, free and all bytes, free and all inodes."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    vfs = os.statvfs(there)
    return [there.stat().st_dev, vfs.f_bavail * vfs.f_frsize, vfs.f_blocks * vfs.f_frsize, vfs.f_favail, vfs.f_files]


@check(
    "disk-full",
    "The disks of the program, the state, homes and /tmp have room",
    why=(
        "On a full disk the hub cannot write its database, nobody can save a notebook, and an upgrade cannot be "
        "built beside what is in use."
    ),
    mend=(
        "free some space: sudo journalctl --vacuum-size=200M; sudo apt clean; "
        "what takes it: sudo du -xh --max-depth=2 / | sort -h | tail"
    ),
)
def disk_full(scene: Scene) -> Iterator[Finding]:
    yield from filter(None, map(judge_space, disks(scene)))


@check(
    "inodes-full",
    "The disks can hold more files",
    why=(
        "Without free inodes no file can be made although `df` shows free space; environments have many thousand "
        "files each."
    ),
    mend="remove what has many small files: du --inodes -x --max-depth=3 / | sort -n | tail",
)
def inodes_full(scene: Scene) -> Iterator[Finding]:
    yield from filter(None, map(judge_inodes, disks(scene)))


@check(
    "memory-small",
    "There is enough memory, or swap for when there is not",
    why="When memory runs out the kernel ends processes, and what somebody has computed is lost.",
    mend=(
        "sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon "
        "/swapfile, and set servers.memory"
    ),
)
def memory_small(scene: Scene) -> Iterator[Finding]:
    found = judge_memory(psutil.virtual_memory().total, psutil.swap_memory().total)
    if found:
        yield found


@check(
    "memory-limit",
    "The limit of one server fits into the machine's memory",
    why="A limit above what the machine has never takes effect: one person can still take all memory from everybody.",
    mend="sudo manylab config set servers.memory 2G && sudo manylab apply",
)
def memory_limit(scene: Scene) -> Iterator[Finding]:
    limit, total = scene.config.servers.memory, psutil.virtual_memory().total
    if limit is not None and limit > total:
        yield warning(f"servers.memory is {limit / GIB:.1f} GiB and the machine has {total / GIB:.1f} GiB")


def from_the_future(times: dict[Path, float], now: float) -> list[Path]:
    """Files that were changed after now. Pure."""
    return [path for path, changed in times.items() if changed > now + FUTURE]


@check(
    "clock-off",
    "The clock is right",
    why=(
        "With a wrong clock certificates count as expired, sign-ins end at once or never, and idle servers are "
        "stopped too early or too late."
    ),
    mend=(
        "sudo timedatectl set-ntp true, or sudo date -s '2026-01-31 12:00:00'; on WSL: wsl --shutdown, then start "
        "it again"
    ),
)
def clock_off(scene: Scene) -> Iterator[Finding]:
    layout = scene.layout
    folders = [
        folder
        for folder in (layout.state, layout.rendered, layout.program, layout.envs, layout.logs)
        if folder.is_dir()
    ]
    times = {}
    for folder in folders:
        for path in (folder, *folder.iterdir()):
            times[path] = path.lstat().st_mtime
    late = from_the_future(times, time.time())
    if late:
        yield problem(
            f"{late[0]} was changed in the future: the clock says {time.strftime('%Y-%m-%d %H:%M:%S %Z')} and is behind"
        )
    # In a container the clock is the host's business.
    if Path("/run/systemd/system").is_dir() and not Path("/run/systemd/container").exists():
        try:
            said = run(
                ["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout=5, check=False
            ).out.strip()
        except CommandFailed:
            return
        if said == "no":
            yield warning("the clock is not synchronized with the network", "sudo timedatectl set-ntp true")


@check(
    "umask-strict",
    "Root's umask lets others read what root makes",
    why=(
        "manylab sets its own umask, but what root installs by hand (packages, shared data) would be unreadable for "
        "people."
    ),
    mend="umask 022, for the commands with which you make things for others",
)
def umask_strict(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    if scene.umask & 0o055:
        yield warning(f"the umask is {scene.umask:04o}")


@check(
    "tmp-unsafe",
    "Everybody can use the folder for temporary files, and nobody can delete what is not theirs",
    why="Without mode 1777 people's programs fail, or people can replace each other's files.",
    mend="sudo chown root:root /tmp && sudo chmod 1777 /tmp",
)
def tmp_unsafe(scene: Scene) -> Iterator[Finding]:
    status = TMP.stat()
    if stat.S_IMODE(status.st_mode) != 0o1777 or status.st_uid != 0:
        yield problem(f"{TMP} has mode {stat.S_IMODE(status.st_mode):04o} and owner {status.st_uid}")


@check(
    "pty-missing",
    "Terminals can be opened",
    why="Terminals in the Lab need a pseudo-terminal; in a container without /dev/pts they stay black.",
    mend="sudo mount -t devpts devpts /dev/pts -o newinstance,ptmxmode=0666,mode=0620,gid=5",
)
def pty_missing(scene: Scene) -> Iterator[Finding]:
    try:
        first, second = os.openpty()
    except OSError as error:
        yield problem(f"no terminal can be opened: {error.strerror}")
        return
    os.close(first)
    os.close(second)


@check(
    "proc-missing",
    "/proc shows the processes of this machine",
    why=(
        "The warden and the supervisor know their processes by /proc; without it nothing can be started or stopped "
        "safely."
    ),
    mend="sudo mount -t proc proc /proc",
)
def proc_missing(scene: Scene) -> Iterator[Finding]:
    if not Path("/proc/self/stat").exists():
        yield problem("/proc is not mounted")
