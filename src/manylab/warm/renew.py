"""What every process must have for itself, and what a fork copies: secrets, seeds, and answers about "me".

Standard library only, and only modules that are imported already are touched: what is not there needs no renewing, and
an import here would make a kernel differ from a cold one. Nothing to do for `random` (renews itself), `secrets` (asks
the system each time), OpenSSL (notices the fork), `uuid` and the names of `tempfile` (made anew in another process).
What cannot be renewed is shared by all children of a nursery: the addresses of what was loaded (ASLR) and the seed of
`hash()` of text. docs/explanation/security.md says what that means.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def after_fork() -> None:
    """Call in the child, once, before anything of the person's runs in it."""
    for name, renew in _RENEW.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        # A later version of a module may keep its things elsewhere; then there is nothing here to put right.
        with contextlib.suppress(AttributeError, KeyError, TypeError):
            renew(module)


def multiprocessing_key(module: Any) -> None:
    """The key that lets another process give orders through multiprocessing's connections and managers."""
    process = module.current_process()
    process.authkey = os.urandom(32)
    # The folder for its sockets, when there is one, is the parent's.
    process._config.pop("tempdir", None)


def _tempfile(module: Any) -> None:
    """The folder was chosen by the nursery's environment and rights; this process chooses again."""
    module.tempdir = None
    module._name_sequence = None


def _numpy_random(module: Any) -> None:
    """The generator behind numpy.random.rand() and its like, which is seeded when numpy is imported."""
    module.seed()


def _logging(module: Any) -> None:
    """Where %(relativeCreated)d counts from: nanoseconds since Python 3.13, seconds before."""
    module._startTime = time.time_ns() if isinstance(module._startTime, int) else time.time()


_RENEW: dict[str, Callable[[Any], None]] = {
    "multiprocessing.process": multiprocessing_key,
    "tempfile": _tempfile,
    "numpy.random": _numpy_random,
    "logging": _logging,
}
