"""The execution context of the supervisor is that of process 1, whatever it was started from.

Without systemd a daemon inherits the shell, the cron job or the Lab terminal that started it: namespaces, control
groups, limits, scheduling, signals that are ignored, keys. All that is taken from process 1 instead, as after a boot.
Every process that starts services calls `enter` first, while it has one thread. Under systemd nothing is done: the
units are started by process 1 itself, and `manylab up` is a program of its terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from manylab.base import hierarchies, procfs
from manylab.base.errors import ManylabError, Refused
from manylab.system import namespaces
from manylab.system.run import run
from manylab.warm import identity, keyring

_INIT: Final = Path("/proc/1")
_SELF: Final = Path("/proc/self")
_NAMESPACES: Final = ("cgroup", "ipc", "uts", "net", "time", "mnt")  # mnt last: /proc is another one afterwards
# All but core dumps, which sudo forbids to itself, and where root may not raise limits cannot allow again.
_LIMITS: Final = tuple(number for number in range(16) if number != resource.RLIMIT_CORE)  # asm-generic/resource.h
_SYS_RESOURCE: Final = 24  # linux/capability.h
_HINT: Final = "start it from another shell: a login of root, or sudo in an ordinary login"


def why_not(site: Path) -> str | None:
    """What keeps this process from process 1's context for good, as a sentence; None when nothing does.

    site: a file of the site. Where process 1 does not see it (a chroot, a container that shares its host's processes),
    process 1 is not this machine's, and nothing is taken from it.
    """
    if not _concerned() or (ours := _is_of_this_machine(site)) is False:
        return None
    mine, init = procfs.status("self"), procfs.status(1)
    if _text(_SELF / "uid_map") != _text(_INIT / "uid_map"):
        return "this shell is in a user namespace of its own, which it cannot leave"
    if lost := given_up(mine, init):
        return lost
    may_raise = int(mine.get("CapEff", "0"), 16) >> _SYS_RESOURCE & 1
    if ours and not may_raise and any(_is_less(*pair) for pair in _hard_limits()):
        return "this shell has lower hard limits (ulimit -H) than process 1, and may not raise them"
    return None


def check_processes() -> None:
    """Raises Refused in a pid namespace of one's own: the numbers of processes there are other ones."""
    if len(procfs.status("self").get("NSpid", "").split()) > 1:
        raise Refused(
            "this shell is in a pid namespace of its own, where the site's processes have no numbers", hint=_HINT
        )


def check(site: Path) -> None:
    """Raises Refused where `why_not` knows a reason."""
    if reason := why_not(site):
        raise Refused(f"{reason}; the site would run with that", hint=_HINT)


def enter(site: Path) -> None:
    """Be as if process 1 had started this process. Raises Refused; what the kernel keeps back besides is printed."""
    if not _concerned():
        return
    check(site)
    if (ours := _is_of_this_machine(site)) is not False:
        if ours:
            _enter_namespaces()
        _enter_groups()
        _take_over_limits()
        _take_over_scheduling()
        for name in ("oom_score_adj", "coredump_filter", "timerslack_ns", "loginuid"):
            with _said(name):
                _copy(name)
        with _said("personality"):
            namespaces.set_personality(int((_INIT / "personality").read_text(), 16))
    with _said("groups"):
        os.setresgid(0, 0, 0)
        os.setgroups([int(number) for number in procfs.status(1)["Groups"].split()] if ours else [0])
        os.setresuid(0, 0, 0)
    with _said("keyring"):
        keyring.own()
    identity.python_signals()
    os.umask(0o022)


def given_up(mine: Mapping[str, str], init: Mapping[str, str]) -> str | None:
    """What a process has given up that a child of process 1 would have, by both's /proc/PID/status."""
    if missing := int(init.get("CapBnd", "0"), 16) & ~int(mine.get("CapEff", "0"), 16):
        names = ", ".join(str(number) for number in range(64) if missing >> number & 1)
        return f"this shell has given up capabilities (numbers {names})"
    if int(mine.get("NoNewPrivs", "0")) > int(init.get("NoNewPrivs", "0")):
        return "this shell has given up new privileges (no_new_privs)"
    if int(mine.get("Seccomp", "0")) > int(init.get("Seccomp", "0")):
        return "this shell has a filter of system calls (seccomp)"
    return None


def _concerned() -> bool:
    return os.geteuid() == 0 and os.getpid() != 1 and not Path("/run/systemd/system").is_dir()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _is_of_this_machine(site: Path) -> bool | None:
    """Whether process 1 has the same file there as we have; None where it cannot be looked at.

    It cannot where it holds more power than it gives to others, or is another account than root.
    """
    try:
        return (_INIT / "root" / site.relative_to("/")).samefile(site)
    except PermissionError:
        # Above our own top of the control groups: outside of this container.
        return False if ":/.." in _text(_INIT / "cgroup") else None
    except OSError:
        return False


def _differs(name: str) -> bool:
    """Whether our namespace of this kind is another one than process 1's. Not every kernel has every kind."""
    try:
        return (_SELF / "ns" / name).readlink() != (_INIT / "ns" / name).readlink()
    except FileNotFoundError:
        return False


def _enter_namespaces() -> None:
    for name in filter(_differs, _NAMESPACES):
        try:
            namespaces.enter(_INIT / "ns" / name)
        except OSError as error:
            raise Refused(f"process 1's {name} namespace cannot be entered: {error.strerror}", hint=_HINT) from None


def _enter_groups() -> None:
    trees = hierarchies.parse((_SELF / "mountinfo").read_text(errors="surrogateescape"))
    want = (_INIT / "cgroup").read_text(errors="surrogateescape")
    have = hierarchies.places((_SELF / "cgroup").read_text(errors="surrogateescape"), trees)
    for folder in hierarchies.places(want, trees):
        if folder in have:
            continue
        try:
            (folder / "cgroup.procs").write_text("0", encoding="ascii")
        except OSError as error:
            # A top that passes controllers on may have no processes: they are in a group below.
            if error.errno != errno.EBUSY:
                raise Refused(f"the control group {folder} cannot be joined: {error.strerror}", hint=_HINT) from None
            _say(f"not in the control group {folder}: {error.strerror}")


def _limits(numbers: Iterable[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Process 1's, as far as they can be read."""
    for number in numbers:
        with contextlib.suppress(OSError, ValueError):
            yield number, resource.prlimit(1, number)


def _hard_limits() -> Iterator[tuple[int, int]]:
    """Ours and process 1's."""
    for number, (_, hard) in _limits(_LIMITS):
        yield resource.getrlimit(number)[1], hard


def _is_less(mine: int, other: int) -> bool:
    return mine != resource.RLIM_INFINITY and (other == resource.RLIM_INFINITY or mine < other)


def _take_over_limits() -> None:
    for number, want in _limits((*_LIMITS, resource.RLIMIT_CORE)):
        with _said(f"limit {number}"):
            if resource.getrlimit(number) != want:
                resource.setrlimit(number, want)


def _take_over_scheduling() -> None:
    with _said("scheduler"):
        os.sched_setscheduler(0, os.sched_getscheduler(1), os.sched_getparam(1))
    with _said("nice"):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 1))
    with _said("processors"):
        os.sched_setaffinity(0, os.sched_getaffinity(1))
    with _said("ionice"):
        run(["ionice", "-c", "none", "-p", str(os.getpid())], timeout=5)


def _copy(name: str) -> None:
    """One file of /proc/PID. Not there on every kernel."""
    with contextlib.suppress(FileNotFoundError):
        want = (_INIT / name).read_text()
        if (_SELF / name).read_text() != want:
            (_SELF / name).write_text(want)


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """What a container does not permit does no harm that would be worth a site that does not start."""
    try:
        yield
    except (OSError, ValueError, KeyError, ManylabError) as error:
        _say(f"{what} stays as in the shell that started this: {error}")


def _say(text: str) -> None:
    print(f"manylab: {text}", flush=True)
