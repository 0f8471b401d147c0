"""Run as root in a machine: a person's home on a file system of its own, which root may not enter, or which hangs.

`fuse_home.py FOLDER UID GID answer|hang`: ends by itself after a while, and the file system with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import struct
import sys
from pathlib import Path

_NOSUID_NODEV = 6  # sys/mount.h
# Of linux/fuse.h.
_LOOKUP, _FORGET, _GETATTR, _OPEN, _RELEASE, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _BATCH_FORGET = (
    *(1, 2, 3, 14, 18, 26, 27, 28, 29, 42),
)
_ENOENT, _ENOSYS = -2, -38


def serve(fuse: int, uid: int, gid: int, hangs: bool) -> None:
    """An empty folder of that account's."""
    attributes = struct.pack("<6Q10I", 1, *[0] * 8, 0o40700, 2, uid, gid, 0, 4096, 0)
    while True:
        _, what, unique, _ = struct.unpack_from("<IIQQ", os.read(fuse, 1 << 17))
        answer, error = b"", 0
        if what in (_FORGET, _BATCH_FORGET) or (hangs and what != _INIT):
            continue
        if what == _INIT:
            answer = struct.pack("<IIIIHHIIHHII", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 32, 0, 0, 0) + bytes(24)
        elif what == _GETATTR:
            answer = struct.pack("<QII", 0, 0, 0) + attributes
        elif what == _LOOKUP:
            error = _ENOENT
        elif what in (_OPEN, _OPENDIR):
            answer = struct.pack("<QII", 1, 0, 0)
        elif what not in (_RELEASE, _RELEASEDIR, _READDIR):
            error = _ENOSYS
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def main(folder: str, uid: int, gid: int, how: str, seconds: int = 900) -> None:
    """Returns when it is mounted; a child serves it."""
    if not Path("/dev/fuse").exists():
        os.mknod("/dev/fuse", 0o600 | stat.S_IFCHR, os.makedev(10, 229))
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id={uid},group_id={gid}".encode()
    options += b",allow_other" if how == "hang" else b""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"fuse", folder.encode(), b"fuse", ctypes.c_ulong(_NOSUID_NODEV), options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    if os.fork() == 0:
        os.setsid()
        for descriptor in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        signal.alarm(seconds)
        serve(fuse, uid, gid, how == "hang")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
