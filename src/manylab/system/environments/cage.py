"""Runs one program where it can do no harm: as an account without power, without network, in a /tmp of its own.

Started as root by the machine's own Python, by its text: `python -I -S -c TEXT SETTINGS PROGRAM ARGUMENT...`. Standard
library only. SETTINGS is JSON: uid and gid to become, `own` (whether that account is for nothing but this), `cover`
(folders that are hidden behind empty ones), `variables` (its whole environment; HOME and TMPDIR in it are for where
/tmp cannot be covered). What the machine does not allow (namespaces in some containers) is left out; the change of
account is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence

# linux/sched.h, sys/mount.h, linux/prctl.h, linux/sockios.h, linux/if.h
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID, _CLONE_NEWNET = 0x00020000, 0x08000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# Larger files than this are nothing that an import or one cell writes, bytes.
_FILE_SIZE = 256 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: Callable[..., int], *arguments: object) -> bool:
    return function(*arguments) == 0


def _mount(kind: bytes, target: str, options: bytes = b"") -> bool:
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    return _call(_libc.mount, kind, os.fsencode(target), kind, flags, options)


def _enter(cover: Sequence[str]) -> tuple[bool, set[str]]:
    """Namespaces, as many as may be had: whether the next child is the first of a process namespace of its own, and
    which folders are covered.
    """
    covered = set()
    for flag in (_CLONE_NEWNET, _CLONE_NEWIPC):
        _call(_libc.unshare, ctypes.c_int(flag))
    own_mounts = _call(_libc.unshare, ctypes.c_int(_CLONE_NEWNS))
    # Nothing that is mounted from here on is seen outside.
    if own_mounts and _call(_libc.mount, None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None):
        for folder in cover:
            open_to_all = folder.endswith(("tmp", "shm"))
            if _mount(b"tmpfs", folder, b"mode=1777,size=512m" if open_to_all else b"mode=755"):
                covered.add(folder)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14s", b"lo", 0, b""))
        flags = struct.unpack("16sH14s", request)[1]
        if not flags & _IFF_UP:  # only in a network of our own it is down
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))
    return _call(_libc.unshare, ctypes.c_int(_CLONE_NEWPID)), covered


def _become(uid: int, gid: int) -> None:
    """Give up every power for good, and look whether that is so."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or os.getgroups():
        raise PermissionError("the account could not be changed")
    if not _call(_libc.prctl, ctypes.c_int(_PR_SET_NO_NEW_PRIVS), *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise PermissionError("no_new_privs could not be set")


def _run(uid: int, gid: int, variables: dict[str, str], argv: Sequence[str]) -> None:
    home = variables["HOME"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE, _FILE_SIZE))
    os.setsid()
    _become(uid, gid)
    os.chdir(home)
    os.execve(argv[0], list(argv), variables)  # noqa: S606 (no shell is wanted)


def _child(action: Callable[[], None]) -> int:
    """Fork, and run `action` in the child, which ends with us however we end."""
    pid = os.fork()
    if pid == 0:
        status = 126
        try:
            _libc.prctl(ctypes.c_int(_PR_SET_PDEATHSIG), *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
            action()
            status = 0
        except BaseException as error:
            print(f"the cage: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return pid


def _wait(pid: int) -> int:
    """Reap whatever ends until `pid` does; its exit status, 128 and the signal when one ended it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _end_all(uid: int) -> None:
    """End every process of an account, also those that are born meanwhile."""
    for _ in range(100):
        found = []
        for name in os.listdir("/proc"):  # noqa: PTH208 (nothing more is imported here)
            with contextlib.suppress(OSError):
                if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:  # noqa: PTH116
                    os.kill(int(name), signal.SIGKILL)
                    found.append(name)
        if not found:
            return


def main() -> None:
    """See the module."""
    said = json.loads(sys.argv[1])
    program = sys.argv[2:]
    apart, covered = _enter(said["cover"])
    variables = said["variables"]
    if covered & {"/tmp"}:  # noqa: S108 (our own)
        # The folder that we were given is hidden behind it.
        variables |= {"HOME": "/tmp/home", "TMPDIR": "/tmp"}  # noqa: S108
        os.mkdir("/tmp/home", 0o700)  # noqa: PTH102, S108
        os.chown("/tmp/home", said["uid"], said["gid"])  # noqa: S108

    def first() -> None:
        # As process 1 of its namespace: when it ends, the kernel ends everything that is left in there.
        if apart:
            _mount(b"proc", "/proc")
        os._exit(_wait(_child(lambda: _run(said["uid"], said["gid"], variables, program))))

    status = _wait(_child(first))
    if said["own"] and not apart:
        # Without a process namespace nothing else ends what a package has left behind.
        _end_all(said["uid"])
    sys.exit(status)


if __name__ == "__main__":
    main()
