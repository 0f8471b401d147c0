"""Where a nursery writes while it gets ready: imports and rehearsals leave files in a home and in temporary folders."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "MANYLAB_SCRATCH"


def new() -> Path:
    """A new folder; the caller removes it.

    In the one that the warden made for this nursery, and removes itself when a nursery was killed in between. Its place
    is given to tempfile and not left to its default, which tempfile would remember for every child.
    """
    return Path(tempfile.mkdtemp(prefix="r-", dir=os.environ.get(VARIABLE) or None))
