"""Raw Linux calls that Python has no function for: mount namespaces, capabilities and process attributes.

Each function does one call and raises OSError when the kernel says no. Nothing here decides anything; the one who does
is `manylab.supervise.confine`. Numbers come from the kernel's own headers, named beside each.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# linux/sched.h, sys/mount.h
CLONE_NEWNS = 0x00020000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19

# linux/fcntl.h, linux/mount.h; mount_setattr has the same number on every architecture (since Linux 5.12)
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442
_MOUNT_ATTR_RDONLY = 1

# linux/prctl.h
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# linux/capability.h
_CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = {"CAP_NET_BIND_SERVICE": 10}

_OPTION_FLAGS = {"ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC}
_ATIME_FLAGS = {"noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc().prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own in which nothing that it mounts is seen by others.

    Mounts made outside go on to arrive (slave, not private: an unmount on the machine must not be held up by us).
    """
    _check(_libc().unshare(ctypes.c_int(CLONE_NEWNS)), "unshare")
    mount(None, "/", None, MS_REC | MS_SLAVE)


def enter(namespace: Path) -> None:
    """Join the namespace of a file of /proc/PID/ns; the process must have one thread, setns(2)."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc().setns(ctypes.c_int(descriptor), ctypes.c_int(0)), f"setns {namespace}")
    finally:
        os.close(descriptor)


def set_personality(persona: int) -> None:
    """personality(2): what `setarch` changes, address space randomisation among it."""
    _check(_libc().personality(ctypes.c_ulong(persona)), "personality")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc().mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def bind(path: str) -> None:
    """Make a folder a mount of its own, so that it can be writable where what is around it is not."""
    mount(path, path, None, MS_BIND | MS_REC)


def tmpfs(target: str, *, mode: int, size: str) -> None:
    """Lay an empty file system in memory over a folder."""
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o},size={size}")


def _mount_setattr(path: str, *, attr_set: int, attr_clear: int) -> None:
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", attr_set, attr_clear, 0, 0), 32)
    result = _libc().syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(path),
        ctypes.c_uint(_AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(32),
    )
    _check(result, f"mount_setattr {path}")


def make_tree_read_only(writable: Iterable[str], mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Make every mount read-only but those at or below `writable`, each of which must be a mount of its own.

    One call where the kernel has mount_setattr (5.12), else a remount of each mount that can be seen.
    """
    kept = [path.rstrip("/") or "/" for path in writable]
    try:
        _mount_setattr("/", attr_set=_MOUNT_ATTR_RDONLY, attr_clear=0)
    except OSError:  # ENOSYS on older kernels; EPERM or EINVAL when one mount of the tree is locked
        _remount_each(kept, mountinfo.read_text(errors="surrogateescape"))
        return
    for path in kept:
        _mount_setattr(path, attr_set=0, attr_clear=_MOUNT_ATTR_RDONLY)


def mount_points(mountinfo: str) -> list[tuple[str, int]]:
    """Mount points and the flags that a remount must repeat, as /proc/PID/mountinfo (proc(5)) tells them."""
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        path = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1", "replace")
        flags = 0
        for option in fields[5].split(","):
            flags |= _OPTION_FLAGS.get(option, 0) | _ATIME_FLAGS.get(option, 0)
        found.append((os.fsdecode(path), flags))
    return found


def _remount_each(kept: list[str], mountinfo: str) -> None:
    for path, flags in mount_points(mountinfo):
        if flags & MS_RDONLY or any(path == keep or path.startswith(f"{keep}/") for keep in kept):
            continue
        try:
            mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
        except OSError:
            # A mount that another one covers, or that the container has locked, cannot be changed. The root must.
            if path == "/":
                raise


def become_subreaper() -> None:
    """Have the orphans among one's descendants come to this process instead of to process 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privileges() -> None:
    """Let no later exec gain anything: set-uid bits and file capabilities stop working, for good."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_capabilities_over_setuid() -> None:
    """Keep the permitted set when the uid changes from root (until the next exec)."""
    _prctl(_PR_SET_KEEPCAPS, 1)


def drop_bounding_set(keep: Iterable[int]) -> None:
    """Remove every capability but `keep` from what this process and its descendants can ever have."""
    kept = set(keep)
    for capability in range(64):
        try:
            held = _prctl(_PR_CAPBSET_READ, capability)
        except OSError:  # EINVAL: past the kernel's last capability
            return
        if held and capability not in kept:
            _prctl(_PR_CAPBSET_DROP, capability)


def set_capabilities(keep: Iterable[int]) -> None:
    """Make `keep` the whole of the effective, permitted, inheritable and ambient sets of this process."""
    kept = sorted(set(keep))
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, low, high, high, high), 24)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _check(_libc().capset(header, data), "capset")
    for capability in kept:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
