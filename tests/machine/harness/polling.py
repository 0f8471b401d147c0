"""Waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import TimedOut

T = TypeVar("T")


def wait_until(
    ready: Callable[[], T],
    timeout: float = 60.0,
    what: str | Callable[[], str] = "a condition",
    interval: float = 0.05,
) -> T:
    """Call `ready` every `interval` seconds until it returns something true, and return that.

    Raises TimedOut after `timeout` seconds. `what` (text, or a function asked only on failure) says what was
    waited for.
    """
    end = time.monotonic() + timeout
    while not (answer := ready()):
        if time.monotonic() > end:
            raise TimedOut(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(interval)
    return answer
