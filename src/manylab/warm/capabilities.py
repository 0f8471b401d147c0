"""The capabilities of this process (capabilities(7)), by the kernel's own calls: Python has none for them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Final

from manylab.warm import process

SETGID: Final = 6
SETUID: Final = 7
SYS_CHROOT: Final = 18
SYS_ADMIN: Final = 21
# What a nursery's child needs: to become the person, and to enter or make a mount namespace (setns(2), unshare(2)).
NURSERY: Final = frozenset({SETGID, SETUID, SYS_CHROOT, SYS_ADMIN})

_VERSION_3: Final = 0x20080522
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

# Looked up once, before any fork: no library is loaded in a child that still has power.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def permitted() -> frozenset[int]:
    """What this process may have."""
    held = int(process.status_of("self").get("CapPrm", "0"), 16)
    return frozenset(number for number in range(64) if held >> number & 1)


def any_left() -> bool:
    """Whether this process, or a program it starts, could still do more than its account."""
    status = process.status_of("self")
    return any(int(status.get(name, "0"), 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))


def put(effective: Iterable[int], may: Iterable[int], inheritable: Iterable[int] = ()) -> None:
    """capset(2). Raises OSError."""
    wanted = [_bits(effective), _bits(may), _bits(inheritable)]
    low, high = ([value & 0xFFFFFFFF for value in wanted], [value >> 32 for value in wanted])
    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)(_Data(*low), _Data(*high))
    _check(_LIBC.capset(ctypes.byref(header), data), "capset")


def keep_over_setuid() -> None:
    """Root that becomes another account keeps what it may have (until exec)."""
    _check(_LIBC.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")


def keep_over_exec(numbers: Iterable[int]) -> None:
    """Let these, permitted and inheritable already, survive exec."""
    for number in numbers:
        _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0), "prctl(PR_CAP_AMBIENT)")


def nothing_over_exec() -> None:
    """No program that this process starts gets any."""
    _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")


def no_new_privileges() -> None:
    """From now on no program that is set-uid, or has capabilities of its own, gets more than this process has."""
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def dumpable(yes: bool) -> None:
    """Whether the own account may look into this process; the kernel says no after a change of identity."""
    _check(_LIBC.prctl(_PR_SET_DUMPABLE, int(yes), 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def end_with_parent(signal: int) -> None:
    """Be sent this signal when the process that started this one ends; 0: no longer. Not kept over fork(2)."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
