"""What a program inherits from the one that starts it, given to a process that was forked from another one."""

from __future__ import annotations

import contextlib
import ctypes
import io
import locale
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

# Locales in which Python replaces what it cannot decode (PEP 538, and the C locale).
_LENIENT: Final = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8"})

# RLIMIT_OFILE is an old name of RLIMIT_NOFILE.
LIMITS: Final = {
    name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}
# What a program inherits and does not show in its environment: lines of /proc/self/status.
INHERITED: Final = ("CapBnd", "NoNewPrivs", "Seccomp")
NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # what subprocess sets back to the default


def limits() -> dict[str, list[int]]:
    """The soft and the hard resource limits of this process, by name."""
    return {name: list(resource.getrlimit(number)) for name, number in LIMITS.items()}


def traits() -> dict[str, Any]:
    """What a program that this process starts would inherit from it, besides environment and descriptors.

    Call in the thread that would start it.
    """
    status = status_of("self")
    ignored = int(status.get("SigIgn", "0"), 16)
    return {
        "limits": limits(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "ignored": [number for number in range(1, 65) if ignored >> (number - 1) & 1 and number not in _RESTORED],
        "blocked": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "status": {name: status.get(name, "") for name in INHERITED},
    }


def caught_in_c() -> set[int]:
    """Signals that are handled, although not by Python."""
    caught = int(status_of("self").get("SigCgt", "0"), 16)
    numbers = {number for number in signal.valid_signals() if caught >> (number - 1) & 1}
    return {int(number) for number in numbers if signal.getsignal(number) is signal.SIG_DFL}


def handler_in_c(number: int) -> Callable[[], None]:
    """What puts back the present handler of a signal (sigaction(2)), for a library that has installed it itself."""
    libc = ctypes.CDLL(None)
    kept = ctypes.create_string_buffer(256)  # more than struct sigaction has anywhere
    libc.sigaction(number, None, kept)
    return lambda: libc.sigaction(number, kept, None) and None


def umask() -> int:
    """The mask of this process, without changing it for a moment (other threads make files)."""
    return int(status_of("self").get("Umask", "022"), 8)


def status_of(pid: int | str) -> dict[str, str]:
    """/proc/PID/status. Raises OSError."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


def descendants(pid: int) -> list[int]:
    """The processes that a process with one thread has started, and those that these have, and so on."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(more for child in children for more in descendants(child))]


def end_all(pids: Sequence[int]) -> None:
    """SIGKILL to each of these, which have just been seen."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def more_files() -> tuple[int, int]:
    """Let this process open as many files as it may have (setrlimit(2)); returns the limits before, soft and hard."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before


def limit(name: str, soft: int, hard: int) -> None:
    """setrlimit(2), or the nearest to it that this process may have: only root raises a hard limit."""
    most = resource.getrlimit(LIMITS[name])[1]
    if most != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > most):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(LIMITS[name], (soft, hard))
            return
        hard = most
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        soft = hard
    resource.setrlimit(LIMITS[name], (soft, hard))


def inherit(wanted: Mapping[str, Any]) -> str | None:
    """Take over `traits()` of another process; a sentence when that cannot be done."""
    status = status_of("self")
    for name, value in wanted["status"].items():
        if value and status.get(name, value) != value:
            return f"{name} of the server is {value}, and here it is {status[name]}"
    for name, (soft, hard) in wanted["limits"].items():
        if name in LIMITS and resource.getrlimit(LIMITS[name]) != (soft, hard):
            try:
                resource.setrlimit(LIMITS[name], (soft, hard))
            except (OSError, ValueError):
                return f"the server's {name} is higher than the nursery's"
    if more := wanted["nice"] - os.getpriority(os.PRIO_PROCESS, 0):
        if more < 0:
            return "the server's priority is higher than the nursery's"
        os.nice(more)
    if sorted(os.sched_getaffinity(0)) != wanted["affinity"]:
        try:
            os.sched_setaffinity(0, wanted["affinity"])
        except (OSError, ValueError):
            return "the server's processors cannot be had"
    for number in wanted["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, wanted["blocked"])
    return None


def elsewhere(pid: int) -> str | None:
    """A sentence when that process of the same account sees another machine than this one; None when all is alike."""
    for name in NAMESPACES:
        try:
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):  # noqa: PTH115
                return f"the server is in another {name} namespace"
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"the server's namespaces cannot be seen: {error.strerror}"
    try:
        if os.readlink(f"/proc/{pid}/root") != os.readlink("/proc/self/root"):  # noqa: PTH115
            return "the server has another root folder"
    except OSError as error:
        return f"the server's root folder cannot be seen: {error.strerror}"
    return None


def environment(wanted: Mapping[str, str]) -> None:
    """Replace the environment, and what the C library made of it."""
    os.environ.clear()
    os.environ.update(wanted)
    time.tzset()


def set_locale() -> str | None:
    """As the interpreter does it when it starts; a sentence when it would have started differently."""
    try:
        name = locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        return "the locale of LC_ALL, LC_CTYPE or LANG does not exist on this machine"
    if name in ("C", "POSIX"):
        return "the locale is C, which Python replaces when it starts"
    if locale.nl_langinfo(locale.CODESET).upper().replace("-", "") != "UTF8":
        return f"the locale {name} is not in UTF-8"
    return None


def stdio(given: Sequence[int]) -> None:
    """Standard input, output and error from these descriptors, with new objects as the interpreter makes them."""
    for number, descriptor in enumerate(given):
        os.dup2(descriptor, number)
        if descriptor > 2:
            os.close(descriptor)
    name = locale.setlocale(locale.LC_CTYPE)
    errors = "surrogateescape" if sys.flags.utf8_mode or name in _LENIENT else "strict"
    sys.stdin = sys.__stdin__ = _stream(0, "<stdin>", "r", errors)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "<stdout>", "w", errors)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "<stderr>", "w", "backslashreplace")  # type: ignore[misc]


def _stream(number: int, name: str, mode: str, errors: str) -> io.TextIOWrapper:
    """create_stdio of CPython's pylifecycle.c."""
    buffer = open(number, mode + "b", buffering=-1, closefd=False)  # noqa: SIM115
    raw: Any = getattr(buffer, "raw", buffer)
    raw.name = name
    lines = number == 2 or raw.isatty()
    stream = io.TextIOWrapper(buffer, "utf-8", errors, "\n", line_buffering=lines)
    stream.mode = mode  # type: ignore[misc]
    return stream
