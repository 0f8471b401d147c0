"""Namespaces: a person's servers and kernels have /tmp, /var/tmp, /dev/shm and System V IPC of their own."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWIPC: Final = 0x08000000
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_SLAVE: Final = 1 << 19

_NS_GET_USERNS: Final = 0xB701  # linux/nsfs.h

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# Where programs put what is nobody else's business, and what it is called in the person's own folder.
PRIVATE: Final = (("/tmp", "tmp"), ("/var/tmp", "var-tmp"))  # noqa: S108  these are the point


class Unavailable(Exception):
    """Namespaces cannot be had here (a container without that right); the text says what was refused."""


def make(folder: str) -> None:
    """Give this process namespaces of its own, with `folder`'s parts in the place of the folders that everybody shares.

    folder: has a subfolder for each of PRIVATE. What is mounted outside later (a home on demand) still appears. Needs
    CAP_SYS_ADMIN, and nothing else than a right to enter `folder`. Raises Unavailable, OSError.
    """
    if _LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWIPC) != 0:
        raise Unavailable(f"unshare: {os.strerror(ctypes.get_errno())}")
    _mount("none", "/", None, _MS_REC | _MS_SLAVE)
    for place, name in PRIVATE:
        _mount(f"{folder}/{name}", place, None, _MS_BIND)
    if Path("/dev/shm").is_dir():  # noqa: S108
        _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777,uid=0,gid=0")  # noqa: S108


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    if _LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        number = ctypes.get_errno()
        raise Unavailable(f"mount on {target}: {os.strerror(number)}")


def join(pid: int) -> None:
    """Be in the namespaces of that process. Call as the account that owns it, with CAP_SYS_ADMIN still there.

    Raises OSError: PermissionError when that process is not this account's own.
    """
    for name, kind in (("ipc", _CLONE_NEWIPC), ("mnt", _CLONE_NEWNS)):
        theirs = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not _is_of_our_users(theirs):
                raise PermissionError(errno.EPERM, f"its {name} namespace was made with power of its own")
            if os.fstat(theirs).st_ino != Path(f"/proc/self/ns/{name}").stat().st_ino and _LIBC.setns(theirs, kind):
                number = ctypes.get_errno()
                raise OSError(number, f"setns: {os.strerror(number)}")
        finally:
            os.close(theirs)


def _is_of_our_users(namespace: int) -> bool:
    """Whether its users are ours. Else whoever made it (unshare -Urm) has mounted there what they like, and a program
    that is set-uid root would find another /etc/shadow, and be root for us.
    """
    owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
    try:
        return os.fstat(owner).st_ino == Path("/proc/self/ns/user").stat().st_ino
    finally:
        os.close(owner)


def main(arguments: list[str]) -> int:
    """`python -I -m manylab.warm.apart FOLDER`: try `make`, for the warden, which wants to know whether it works."""
    try:
        make(arguments[1])
    except (Unavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
