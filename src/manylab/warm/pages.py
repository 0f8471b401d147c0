"""Fewer pages of a child's own: what is in the way of sharing memory with the nursery, and what takes it away.

A page is shared until somebody writes to it. Two things make a child write where the nursery has been: it puts new
objects into the holes between old ones, and CPython counts references inside each object and keeps notes inside code,
so that to use one is to write to it. Measured for a server that has served JupyterLab once: with Python 3.11, 29.7 MB
of its own without this module, 27.5 with the holes filled, 24.8 with the code in one place; with 3.13, 28 and, where
objects are not counted, 12.8.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

_CLASS: Final = re.compile(rb"^ +\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)
# What CPython 3.12 and 3.13 (64 bits) take for "not counted": Py_INCREF leaves exactly this alone (PEP 683, object.h).
_IMMORTAL: Final = 0xFFFF_FFFF
# Not ctypes.pythonapi, which is everybody's and would keep the types that are set here.
_PYTHON: Final = ctypes.PyDLL(None)
_MOST: Final = 1_000_000  # allocations; far more than there are holes in any nursery


def fill_holes() -> None:
    """Leave no free memory between what is there, so that what a child makes lies together, on pages of its own.

    What it takes, half a megabyte or so, is never given back.
    """
    for _ in range(2):  # to fill holes makes a few objects, and so a few holes
        for size, free in _free_blocks().items():
            for _ in range(free):
                _object_malloc(size)
    _fill_heap()


def _object_malloc(size: int) -> Any:
    allocate = _PYTHON.PyObject_Malloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return allocate(size)


def _free_blocks() -> dict[int, int]:
    """How many blocks of each size are free in pools that are in use, by the interpreter's own statistics."""
    if not hasattr(sys, "_debugmallocstats"):
        return {}
    # They are written to the descriptor 2, and nowhere else.
    sys.stderr.flush()
    kept = os.dup(2)
    with os.fdopen(os.memfd_create("malloc statistics"), "rb") as file:
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return {int(size): int(free) for size, free in _CLASS.findall(file.read())}


def _fill_heap() -> None:
    """The same for the C library's heap: what is larger than 512 bytes, and what libraries ask for."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):  # another C library than glibc
        return
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    # From 64 KiB (larger pieces may come from mmap) to the smallest chunk: what one size leaves, a smaller one fills.
    size, taken = 1 << 16, 0
    while size >= 24 and taken < _MOST:
        libc.malloc_trim(0)
        end = libc.sbrk(0)
        while (piece := libc.malloc(size)) is not None and taken < _MOST:
            if piece >= end or libc.sbrk(0) != end:
                # No hole is left for this size: it came from new memory.
                libc.free(piece)
                break
            taken += 1
        size = size * 3 // 4
    libc.malloc_trim(0)


def lay_together(work: Callable[[], None]) -> int:
    """Put the code of all functions that `work` calls side by side; how many. Then run `work` again, to warm them.

    Each function gets an equal copy of its code, as types.coroutine() does. Where it lay before were other functions
    that hardly anybody calls, so that each page brought along little that was of use.
    """
    # By identity: code that is equal may come from another file, which tracebacks name.
    called: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.setdefault(id(frame.f_code), frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    users: dict[int, list[FunctionType]] = {key: [] for key in called}
    for found in gc.get_objects():
        if type(found) is FunctionType and id(found.__code__) in users:
            users[id(found.__code__)].append(found)
    gc.collect()
    fill_holes()
    for key, functions in users.items():
        if functions:
            copy = called[key].replace()
            for function in functions:
                function.__code__ = copy
    return len(users)


def can_stop_counting() -> bool:
    """Whether this interpreter has objects whose references are not counted, in the form that is known here."""
    return (
        sys.implementation.name == "cpython"
        and (3, 12) <= sys.version_info[:2] <= (3, 13)
        and "t" not in getattr(sys, "abiflags", "")
        and sys.maxsize > 2**32
        and ctypes.c_uint32.from_address(id(None)).value == _IMMORTAL
    )


def stop_counting() -> int:
    """Make every object there is immortal, as None is, so that using it writes nothing; how many.

    Call before gc.freeze(), which hides objects. They are never freed: in a child that would only give back memory that
    is not its own. Extensions of Python 3.11's ABI that count all the same do no harm (PEP 683, "Accidental
    De-Immortalizing").
    """
    if not can_stop_counting():
        return 0
    gc.collect()
    seen: set[int] = set()
    todo: list[Any] = gc.get_objects()
    mine = {id(seen), id(todo)}
    done = 0
    while todo:
        item = todo.pop()
        if (address := id(item)) in seen or address in mine:
            continue
        seen.add(address)
        todo.extend(gc.get_referents(item))
        # The lower half of ob_refcnt. One that is negative as a signed number is immortal already.
        count = ctypes.c_uint32.from_address(address)
        if count.value < 0x8000_0000:
            count.value = _IMMORTAL
            done += 1
    return done
