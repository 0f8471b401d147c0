"""Becoming a person, for good: the steps between a process with power and one that is somebody's server or kernel.

Used by the warden's child (cold, as root) and by the nurseries' children (warm, with four capabilities).
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from manylab.warm import apart, capabilities, keyring, process, wire

# Out of memory, a person's server goes before the machine's own services, and a kernel before its server: its other
# notebooks go on then. In thousandths of the limit (or of the machine's memory), added to the size, proc(5).
SERVER_OOM_SCORE: Final = 100
KERNEL_OOM_SCORE: Final = 500
MAKE_HOME: Final = (
    "root makes it with `mkhomedir_helper NAME`, and `pam-auth-update --enable mkhomedir` makes each at first sign-in"
)

# Handled by libraries in C, as readline does with SIGWINCH, in every process that has imported the same.
library_signals: Final[set[int]] = set()


class Failed(Exception):
    """Why there is no server: a reason of the warden's vocabulary and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def fresh_process(keep: Iterable[int]) -> None:
    """Nothing of the parent's signals, session or descriptors stays, but 0 to 2 and `keep`."""
    python_signals()
    with contextlib.suppress(PermissionError):  # already leads one
        os.setsid()
    last = 3
    for descriptor in sorted(keep):
        os.closerange(last, descriptor)
        last = descriptor + 1
    os.closerange(last, os.sysconf("SC_OPEN_MAX"))


def python_signals() -> None:
    """Handlers and mask as in an interpreter that has just been started from a shell."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - library_signals:
        with contextlib.suppress(OSError, ValueError):  # SIGKILL, SIGSTOP
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def begin_audit(uid: int) -> None:
    """A new audit session, as pam_loginuid does; only root can, and only where the kernel has it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/loginuid").write_text(str(uid))


def end_early(score: int, pid: int | str = "self") -> None:
    """Be ended before others when memory is short. Call as the person: /proc/self is root's until then.

    pid: another process of the same account. Best effort.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))


def become(uid: int, gid: int, groups: list[int], *, namespace_of: int | None = None) -> None:
    """Be this account and no other, for good; raises Failed when that did not take.

    namespace_of: a process of that account whose mount namespace to enter on the way.
    """
    if uid == 0:
        raise Failed("system-account", "root is not served")
    may = capabilities.permitted()
    if capabilities.SETUID in may and os.getuid() != uid:
        root = os.geteuid() == 0
        if root and namespace_of is not None:
            capabilities.keep_over_setuid()
        wanted = may if root else capabilities.NURSERY & may
        capabilities.put(wanted, may)
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresgid() != (gid, gid, gid) or set(os.getgroups()) != set(groups):
            raise Failed("start-failed", "the groups could not be set")
        try:
            keyring.own()
        except OSError as error:
            raise Failed("start-failed", f"a keyring of their own cannot be had: {error.strerror}") from None
        if namespace_of is not None:
            capabilities.put(wanted & capabilities.NURSERY, wanted & capabilities.NURSERY)
            _enter(namespace_of)
        capabilities.nothing_over_exec()
        capabilities.put((), ())
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise Failed("start-failed", "root could be had again after it was given up")
    if os.getresuid() != (uid, uid, uid):
        raise Failed("start-failed", "the warden is not root and cannot act for another account")
    if capabilities.any_left():
        raise Failed("start-failed", "a capability was left over")
    # The kernel keeps a process that changed its identity closed to its own account: no debugger, no /proc/self/fd.
    capabilities.dumpable(True)


def _enter(pid: int) -> None:
    try:
        apart.join(pid)
    except OSError as error:
        raise Failed("start-failed", f"the server's namespace cannot be entered: {error}") from None


def confine(order: dict[str, Any]) -> None:
    """Before the drop: what the person's processes share with nobody, and limits that no cgroup sets.

    Order: `private` (folder for /tmp and its like, or None), `processes` (RLIMIT_NPROC, or None), `files` (the soft
    RLIMIT_NOFILE that the warden began with), `umask`, `limits` and `nice` of the person's PAM session.
    """
    os.umask(order["umask"])
    process.limit("RLIMIT_NOFILE", order["files"], resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for name, (soft, hard) in order["limits"].items():
        process.limit(name, soft, hard)
    if (nice := order["nice"]) is not None:
        with contextlib.suppress(PermissionError):  # a higher priority than root could give
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    if (folder := order.get("private")) is not None:
        may = capabilities.permitted()
        if os.geteuid() != 0:
            capabilities.put(capabilities.NURSERY & may, may)
        try:
            apart.make(folder)
        except apart.Unavailable as error:
            raise Failed("start-failed", f"a private /tmp cannot be had here: {error}") from None
    if (most := order.get("processes")) is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (value, value))


def enter_home(home: str) -> None:
    """Stand in the home folder; raises Failed `no-home`, `home-closed`. As the person: a root-squashing NFS shows root
    nothing.
    """
    try:
        os.chdir(home)
        with os.scandir() as found:  # a folder may be remembered whose file server is gone
            next(found, None)
        os.path.lexists(".jupyter")
    except FileNotFoundError:
        raise Failed("no-home", f"the home folder {home} does not exist; {MAKE_HOME}") from None
    except OSError as error:
        raise Failed("home-closed", f"the home folder {home} cannot be entered: {error.strerror}") from None


def make_folder(parent: str, name: str) -> str:
    """`servers/NAME/SERVER/` and `jupyter/` in it, new and empty; the path.

    As the person, so that a link they planted leads nowhere that they could not go by themselves. The group and the
    setgid bit come from `servers/NAME` (a chmod by somebody outside that group would lose the bit).
    """
    folder = Path(parent, name)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            shutil.rmtree(folder)
        else:
            folder.unlink()
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o710)
        (folder / "jupyter").mkdir(mode=0o700)
    finally:
        os.umask(before)
    return str(folder)


def become_owner(order: dict[str, Any], conversation: wire.Conversation) -> None:
    """All of it, for a server: after this the process is the person, in their home, with the server's folder made.

    The warden is told before the home is entered, which may hang.
    """
    begin_audit(order["uid"])
    confine(order)
    become(order["uid"], order["gid"], order["groups"])
    if order["no_new_privileges"]:
        capabilities.no_new_privileges()
    end_early(SERVER_OOM_SCORE)
    conversation.send({"entering": True})
    enter_home(order["home"])
    make_folder(order["folder"], order["name"])


def silence() -> None:
    """Nothing to read, and nowhere to write to, until there is something better."""
    stdio(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))


def stdio(log: int) -> None:
    """Nothing to read, and the log for both outputs."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    if log > 2:
        os.close(log)
