"""What can go wrong in the harness. Each message says what happened; the last lines of the relevant log come
with it.
"""

from __future__ import annotations


class HarnessError(Exception):
    """Something in the harness itself, never in the product under test."""


class Unavailable(HarnessError):
    """This host cannot do what was asked (not root, no debootstrap, no overlay...): a reason to skip, not to
    fail.
    """


class CommandFailed(AssertionError):
    """A command inside a machine ended with another status than 0 (an assertion: it is the product that
    failed).
    """


class TimedOut(AssertionError, TimeoutError):
    """Something did not happen in time; what was waited for is in the message."""
