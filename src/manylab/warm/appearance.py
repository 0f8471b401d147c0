"""Making a process look, to those who look at it from outside, like one that was started with another command line."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.sbrk.restype = ctypes.c_void_p
_LIBC.malloc.restype = ctypes.c_void_p
_LIBC.malloc.argtypes = (ctypes.c_size_t,)
_LIBC.free.argtypes = (ctypes.c_void_p,)
_PR_SET_NAME: Final = 15
_PR_SET_MM: Final = 35
_PR_SET_MM_MAP: Final = 14
# struct prctl_mm_map: eleven addresses, the auxiliary vector (none: left alone), a descriptor (-1: left alone)
_MAP: Final = struct.Struct("=11QQII")
# Places in /proc/self/stat (proc(5)), counted from the state, which is the third field.
_CODE, _STACK, _DATA, _BRK = slice(23, 25), 25, slice(42, 44), 44


def command_line(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """What `ps` and /proc/PID/cmdline and environ show. False where the kernel cannot (no CONFIG_CHECKPOINT_RESTORE).

    What is in the environment decides, for the warden, to which server a process belongs.
    """
    _LIBC.prctl(_PR_SET_NAME, os.fsencode(Path(argv[0]).name)[:15], 0, 0, 0)
    words = b"".join(os.fsencode(word) + b"\0" for word in argv)
    pairs = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
    place = _LIBC.malloc(len(words) + len(pairs) + 1)
    if not place:
        return False
    ctypes.memmove(place, words + pairs, len(words) + len(pairs))
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    buffer = ctypes.create_string_buffer(_MAP.size)
    middle, end = place + len(words), place + len(words) + len(pairs)
    code, data = [int(word) for word in stat[_CODE]], [int(word) for word in stat[_DATA]]
    # The heap must not grow between looking at its end and telling the kernel: leave it room first.
    _LIBC.free(_LIBC.malloc(100_000))
    for _ in range(3):
        top = _LIBC.sbrk(0)
        _MAP.pack_into(
            buffer,
            0,
            *code,
            *data,
            int(stat[_BRK]),
            top,
            int(stat[_STACK]),
            place,
            middle,
            middle,
            end,
            0,
            0,
            2**32 - 1,
        )
        if _LIBC.sbrk(0) == top:
            return int(_LIBC.prctl(_PR_SET_MM, _PR_SET_MM_MAP, buffer, _MAP.size, 0)) == 0
    return False
