"""Runs in the service's own process, between fork and its program: takes away what it does not need, then executes it.

`python -I -m manylab.supervise.confine '{"account": ..., "confine": true, ...}' PROGRAM ARGUMENT...`

What systemd's ProtectSystem=strict, PrivateTmp=, ProtectHome=, User=, CapabilityBoundingSet= and NoNewPrivileges= do.
Giving up identity or capabilities must work or the program is not run; namespaces are not permitted in many containers,
so there the program runs without, after a line that begins with `not confined:`.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from manylab.system import namespaces

EXIT_NOT_DROPPED = 126  # what a shell says of a program that may not be run
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (these get a private one)
_HOMES = ("/home", "/root")


@dataclass(frozen=True)
class Wish:
    """What is left to the program; the fields of services.json."""

    confine: bool
    account: str | None
    groups: tuple[str, ...]
    writable: tuple[str, ...]
    capabilities: tuple[str, ...]
    cwd: str


@dataclass(frozen=True)
class Ids:
    """An account and its groups as numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class NotDropped(Exception):
    """A power that was to be given up is still there."""


def main(arguments: list[str]) -> int:
    """Confine this process and become the program; returns only when that failed."""
    wish = parse(arguments[0])
    command = arguments[1:]
    root = os.geteuid() == 0
    try:
        ids = look_up(wish) if root else None
        keep = held([namespaces.CAPABILITIES[name] for name in wish.capabilities])
    except KeyError as error:
        _say(f"cannot run {command[0]}: {error} does not exist")
        return EXIT_NOT_DROPPED
    if wish.confine:
        _say_why_not(lambda: isolate(wish, needed_paths(command, wish)) if root else _not_root())
    try:
        if root:
            drop(ids, keep, wish)
        if wish.confine or wish.account is not None:
            namespaces.set_no_new_privileges()
        if root:
            verify(Path("/proc/self/status").read_text(encoding="ascii"), ids, keep, wish)
    except (OSError, NotDropped) as error:
        _say(f"cannot run {command[0]} with less power: {error}")
        return EXIT_NOT_DROPPED
    os.chdir(wish.cwd)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        _say(f"cannot run {command[0]}: {error.strerror}")
        return 127


def parse(text: str) -> Wish:
    """The wish as children.command_of wrote it."""
    data = json.loads(text)
    return Wish(
        confine=data["confine"],
        account=data["account"],
        groups=tuple(data["groups"]),
        writable=tuple(data["writable"]),
        capabilities=tuple(data["capabilities"]),
        cwd=data["cwd"],
    )


def look_up(wish: Wish) -> Ids | None:
    """The numbers of the account; raises KeyError when it or a group does not exist."""
    if wish.account is None:
        return None
    entry = pwd.getpwnam(wish.account)
    more = [grp.getgrnam(name).gr_gid for name in wish.groups]
    return Ids(entry.pw_uid, entry.pw_gid, tuple(sorted({entry.pw_gid, *more})))


def held(capabilities: list[int]) -> list[int]:
    """Those that we can pass on: a container may lack one, and often does not need it (low ports are free there)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    permitted = int(next((line.split()[1] for line in status.splitlines() if line.startswith("CapPrm:")), "0"), 16)
    for capability in capabilities:
        if not permitted >> capability & 1:
            _say(f"this machine does not give capability {capability}")
    return [capability for capability in capabilities if permitted >> capability & 1]


def needed_paths(command: list[str], wish: Wish) -> list[str]:
    """Paths without which the program cannot run: its interpreter, what it is told to read, where it may write."""
    named = [word for word in command if word.startswith("/")]
    resolved = [os.path.realpath(path) for path in (*named, *wish.writable, sys.prefix, sys.base_prefix, wish.cwd)]
    return sorted({*named, *wish.writable, *resolved, wish.cwd})


def isolate(wish: Wish, needed: Iterable[str]) -> None:
    """Enter a mount namespace in which only `writable` and private temporary folders can be written.

    Raises OSError when the kernel does not permit it; what was done by then stays done.
    """
    needed = list(needed)
    namespaces.unshare_mounts()
    writable = [os.path.realpath(path) for path in wish.writable if Path(path).is_dir()]
    for path in wish.writable:
        if not Path(path).is_dir():
            _say(f"not writable, it is not there: {path}")
    temporary = []
    for path in _TEMPORARY:
        if Path(path).is_symlink() or not Path(path).is_dir():
            continue
        if _holds(path, needed):
            _say(f"{path} is shared, not private: the program needs files in it")
            continue
        namespaces.tmpfs(path, mode=0o1777, size="50%")
        temporary.append(path)
    for path in _HOMES:
        # The accounts here serve others; a site inside a home must of course see that home.
        if (
            wish.account is not None
            and Path(path).is_dir()
            and not Path(path).is_symlink()
            and not _holds(path, needed)
        ):
            namespaces.tmpfs(path, mode=0o755, size="4k")
    for path in writable:
        namespaces.bind(path)
    namespaces.make_tree_read_only([*writable, *temporary])


def _holds(folder: str, paths: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for path in paths)


def drop(ids: Ids | None, keep: list[int], wish: Wish) -> None:
    """Give up every capability but `keep`, and become the account."""
    if wish.confine or ids is not None:
        # First, while there still is CAP_SETPCAP: what is not in the bounding set cannot come back by any exec.
        _say_why_not(lambda: namespaces.drop_bounding_set(keep))
    if ids is None:
        if wish.confine:
            namespaces.set_capabilities(keep)
        return
    os.setgroups(ids.groups)
    os.setresgid(ids.gid, ids.gid, ids.gid)
    if keep:
        namespaces.keep_capabilities_over_setuid()
    os.setresuid(ids.uid, ids.uid, ids.uid)
    namespaces.set_capabilities(keep)


def verify(status: str, ids: Ids | None, keep: list[int], wish: Wish) -> None:
    """Look again, in the kernel's own words (proc(5), /proc/PID/status); raises NotDropped when something is left."""
    if not wish.confine and ids is None:
        return
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    mask = sum(1 << capability for capability in keep)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        if int(found.get(name, "0"), 16) != mask:  # CapAmb: Linux 4.3
            raise NotDropped(f"{name} is {found.get(name)}")
    if found.get("NoNewPrivs", "1").strip() != "1":
        raise NotDropped("NoNewPrivs is 0")
    if ids is None:
        return
    if found["Uid"].split() != [str(ids.uid)] * 4 or found["Gid"].split() != [str(ids.gid)] * 4:
        raise NotDropped(f"ids are {found['Uid']} {found['Gid']}")
    if sorted(int(group) for group in found["Groups"].split()) != sorted(ids.groups):
        raise NotDropped(f"groups are {found['Groups']}")
    if ids.uid == 0:
        return
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise NotDropped("root can be had back")


def _not_root() -> None:
    raise OSError("not started as root")


def _say_why_not(action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        _say(f"not confined: {error.filename or 'namespaces'}: {error.strerror or error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
