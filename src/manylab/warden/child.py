"""What stands between the warden and a person's server: `python -I -m manylab.warden.child`.

Started as root. Standard input: the order, one JSON object (it holds the person's token, hence never in argv or the
environment). Standard output: the server's log. Standard error: where the warden listens. Becomes the person, checks
that it did, and turns into the server; says `exec` just before, or a line of JSON `{"reason", "message"}`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

ABOUT_TO: Final = "exec"  # the last line the warden hears from a start that went well
_OOM_SCORE: Final = "100"  # a person's server goes before the machine's own services when memory runs out


class Failed(Exception):
    """Why there is no server: a reason of the warden's vocabulary and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def confine(order: dict[str, Any]) -> None:
    """As root, before the drop: limits and namespaces where there is no systemd. The seam; nothing yet."""


def fresh_process() -> None:
    """Nothing of the warden's signals, session or descriptors stays."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL, SIGSTOP
            signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(PermissionError):  # already leads one
        os.setsid()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def mark(uid: int) -> None:
    """Best effort, as root: a new audit session (as pam_loginuid does), and to be ended early when memory is short."""
    for path, text in (("/proc/self/loginuid", str(uid)), ("/proc/self/oom_score_adj", _OOM_SCORE)):
        with contextlib.suppress(OSError):
            Path(path).write_text(text)


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be this account and no other, for good; raises Failed when that did not take."""
    if uid == 0:
        raise Failed("system-account", "root is not served")
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresgid() != (gid, gid, gid) or set(os.getgroups()) != set(groups):
            raise Failed("start-failed", "the groups could not be set")
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise Failed("start-failed", "root could be had again after it was given up")
    if os.getresuid() != (uid, uid, uid):
        raise Failed("start-failed", "the warden is not root and cannot act for another account")
    status = Path("/proc/self/status").read_text()
    held = [line for line in status.splitlines() if line.startswith(("CapPrm:", "CapEff:", "CapAmb:"))]
    if any(int(line.split()[1], 16) for line in held):
        raise Failed("start-failed", "a capability was left over")


def enter_home(home: str) -> None:
    """Stand in the home folder; raises Failed `no-home`. As the person: a root-squashing NFS shows root nothing."""
    try:
        os.chdir(home)
    except FileNotFoundError:
        raise Failed("no-home", f"the home folder {home} does not exist; ask the administrator to create it") from None
    except OSError as error:
        raise Failed("no-home", f"the home folder {home} cannot be entered: {error.strerror}") from None


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


def main() -> NoReturn:
    """Carry out the order on standard input, or say why not."""
    with contextlib.suppress(BrokenPipeError):
        try:
            run(json.loads(sys.stdin.buffer.read()))
        except Failed as failed:
            answer = {"reason": failed.reason, "message": failed.message}
        except (OSError, ValueError, KeyError) as error:
            # Not the text of a KeyError or ValueError: it may repeat a part of the order.
            text = str(error) if isinstance(error, OSError) else type(error).__name__
            answer = {"reason": "start-failed", "message": f"the server could not be started: {text}"}
        sys.stderr.write(json.dumps(answer) + "\n")
        sys.stderr.flush()
    os._exit(1)


def run(order: dict[str, Any]) -> NoReturn:
    """Become the server."""
    fresh_process()
    mark(order["uid"])
    confine(order)
    os.umask(0o022)
    become(order["uid"], order["gid"], order["groups"])
    enter_home(order["home"])
    make_folder(order["folder"], order["name"])
    command: list[str] = order["command"]
    environment: dict[str, str] = order["env"]
    # The warden's ear stays open until exec closes it; the server's standard error is its log.
    warden = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(1, 2)
    os.write(warden, f"{ABOUT_TO}\n".encode())
    try:
        os.execve(command[0], command, environment)  # noqa: S606
    except OSError as error:
        os.dup2(warden, 2)
        raise Failed("start-failed", f"{command[0]} cannot be run: {error.strerror}") from None


if __name__ == "__main__":
    main()
