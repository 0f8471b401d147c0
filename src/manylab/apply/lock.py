"""One change of a site at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from manylab.base.errors import Locked
from manylab.model.resources import Directory
from manylab.system.files import make_directory


@contextlib.contextmanager
def exclusive(path: Path, *, wait: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the site's lock. wait: seconds to wait for another manylab, after which Locked is raised, naming it.

    The kernel gives the lock back when its holder dies, however it dies.
    """
    make_directory(Directory(path.parent))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + wait
        said = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = _holder(descriptor)
                if time.monotonic() >= deadline:
                    raise Locked(
                        f"another manylab (pid {pid}) is changing this site",
                        hint="wait for it to end, then run this again",
                        pid=pid,
                    ) from None
                if not said:
                    say(f"waiting for another manylab (pid {pid}) that is changing this site")
                    said = True
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
