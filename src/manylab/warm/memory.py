"""Keeping pages shared: what a nursery does about memory before it forks."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

from manylab.warm import pages

_PR_SET_THP_DISABLE: Final = 41


def before() -> None:
    """Call before anything is imported."""
    # A huge page is copied whole by the first write to any part of it.
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    # Garbage that is collected leaves holes in pages that children then fill, each for itself.
    gc.disable()


def after(kind: str) -> None:
    """Call when everything is imported, just before the first fork. kind: of the nursery, "server" or "kernel"."""
    gc.collect()
    # Not for kernels: what a person's code can see of its objects stays as it is in a cold one.
    if kind == "server":
        pages.stop_counting()
    gc.freeze()
    pages.fill_holes()
    gc.enable()
