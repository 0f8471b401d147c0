"""Keeping pages shared: what a nursery does about memory before it forks."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from typing import Final

from manylab.warm import pages

_PR_SET_THP_DISABLE: Final = 41
_MADV_NOHUGEPAGE: Final = 15
_LIBC: Final = ctypes.CDLL(None)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def before() -> None:
    """Call before anything is imported."""
    # A huge page is copied whole by the first write to any part of it.
    _LIBC.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    # Garbage that is collected leaves holes in pages that children then fill, each for itself.
    gc.disable()


def after() -> None:
    """Call when everything is imported, just before the first fork."""
    gc.collect()
    # A cell could see this in sys.getrefcount of what was imported beforehand, and nowhere else; it is half the memory.
    pages.stop_counting()
    gc.freeze()
    pages.fill_holes()
    gc.enable()
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        place, rights, _, _, inode, *name = line.split()
        if rights.startswith("rw") and inode == "0" and name in ([], ["[heap]"]):
            begin, end = (int(number, 16) for number in place.split("-"))
            _LIBC.madvise(begin, end - begin, _MADV_NOHUGEPAGE)


def as_usual() -> None:
    """Call in a child: what it and its programs use from now on may be in huge pages, as everywhere else. Memory that
    is shared with the nursery stays as it is.
    """
    _LIBC.prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)
