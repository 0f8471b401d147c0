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


def after() -> None:
    """Call when everything is imported, just before the first fork."""
    gc.collect()
    # A cell could see this in sys.getrefcount of what was imported beforehand, and nowhere else; it is half the memory.
    pages.stop_counting()
    gc.freeze()
    pages.fill_holes()
    gc.enable()
