"""A session keyring of one's own (keyrings(7)), where Kerberos, cifs and others keep tickets and passwords.

It is inherited by all that a process starts, whoever that is: with the warden's, all people of a site would have one,
and where root started the site from a shell, root's keys in it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

# The number of keyctl(2), for the machines that Debian runs on (asm/unistd.h).
_NUMBERS: Final = {
    "x86_64": 250,
    "aarch64": 219,
    "riscv64": 219,
    "loongarch64": 219,
    "ppc64le": 271,
    "s390x": 280,
    "armv7l": 311,
    "i686": 288,
}
# linux/keyctl.h
_GET_ID, _JOIN, _LINK = 0, 1, 8
_SESSION, _USER = -3, -4
# Looked up once, before any fork.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def own() -> None:
    """Leave the session keyring that was inherited for an empty one, in which this account finds its own keys.

    Where there are no keyrings, or a container allows nobody to use them, nothing has to be done. Raises OSError.
    """
    if (failed := _keyctl(_JOIN, 0)) == 0:
        _keyctl(_LINK, _USER, _SESSION)  # one key less of use, if that fails
    elif failed != errno.ENOSYS and _keyctl(_GET_ID, _SESSION, 0) == 0:
        raise OSError(failed, os.strerror(failed))


def _keyctl(*words: int) -> int:
    """The error's number, 0 for none."""
    if (number := _NUMBERS.get(os.uname().machine)) is None:
        return errno.ENOSYS
    done = _LIBC.syscall(*(ctypes.c_long(word) for word in (number, *words)))
    return ctypes.get_errno() if done == -1 else 0
