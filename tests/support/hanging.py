"""Run as a person: a process that keeps waiting for ever whoever looks at it (most files of /proc/PID).

It execs with a descriptor that is closed then, on a file system of the person's own whose daemon never answers to that
(FUSE_FLUSH). All of it ends by itself after some seconds: the daemon is killed by its alarm.
"""

import contextlib
import ctypes
import os
import signal
import struct
import sys
import tempfile
from pathlib import Path

_NEWUSER, _NEWNS, _NOSUID_NODEV = 0x10000000, 0x20000, 6  # sched.h, sys/mount.h
# Of linux/fuse.h.
_LOOKUP, _FORGET, _GETATTR, _OPEN, _RELEASE, _FLUSH, _INIT, _OPENDIR, _RELEASEDIR, _BATCH_FORGET = (
    *(1, 2, 3, 14, 18, 25, 26, 27, 29, 42),
)


def serve(fuse: int) -> None:
    """A folder with one file."""

    def attributes(node: int) -> bytes:
        return struct.pack("<6Q10I", node, *[0] * 8, 0o40755 if node == 1 else 0o100644, 1, 0, 0, 0, 4096, 0)

    while True:
        _, what, unique, node = struct.unpack_from("<IIQQ", os.read(fuse, 1 << 17))
        answer, error = b"", 0
        if what in (_FORGET, _BATCH_FORGET, _FLUSH):
            continue
        if what == _INIT:
            answer = struct.pack("<IIIIHHIIHHII", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 32, 0, 0, 0) + bytes(24)
        elif what == _LOOKUP:
            answer = struct.pack("<QQQQII", 2, 0, 1000, 1000, 0, 0) + attributes(2)
        elif what == _GETATTR:
            answer = struct.pack("<QII", 1000, 0, 0) + attributes(node)
        elif what in (_OPEN, _OPENDIR):
            answer = struct.pack("<QII", 1, 0, 0)
        elif what not in (_RELEASE, _RELEASEDIR):
            error = -38  # ENOSYS
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def main(device: str, note: str, seconds: int = 10) -> None:
    """Hang this process. device: a /dev/fuse. note: where to write the pid of the daemon; when it is killed, all ends.

    seconds: it hangs for these, and never longer: so does every `ps` on this machine.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWUSER | _NEWNS):
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/self/{name}").write_text(text)
    folder = tempfile.mkdtemp(dir=Path(note).parent)
    fuse = os.open(device, os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"fuse", folder.encode(), b"fuse", ctypes.c_ulong(_NOSUID_NODEV), options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    if (daemon := os.fork()) == 0:
        signal.alarm(seconds)
        serve(fuse)
    os.close(fuse)
    Path(note).write_text(str(daemon))
    os.open(f"{folder}/f", os.O_RDONLY)  # closed on exec
    os.execv("/bin/sleep", ["sleep", str(seconds)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
