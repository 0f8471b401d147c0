"""What modules take for standard output and error, while a nursery imports them, and keep (a handler of a log, say).

In a kernel that is where cells print; in the nursery there is none yet.
"""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import Any, Final

_NAMES: Final = ("stdout", "stderr")


class Later(io.TextIOBase):
    """Is a nursery's own stream while modules are imported, and then whatever `sys` has by that name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._until: Any = getattr(sys, name)

    def _now(self) -> Any:
        return self._until if self._until is not None else getattr(sys, self._name)

    def begin(self) -> None:
        """Here is the kernel."""
        self._until = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        # As ipykernel spells it, for those who remember it (pandas).
        return "UTF-8" if self._until is not None else str(self._now().encoding)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._now().errors  # type: ignore[no-any-return]

    def write(self, text: str) -> int:
        return int(self._now().write(text))

    def flush(self) -> None:
        if (now := self._now()) is not None:  # none at the very end
            now.flush()

    def close(self) -> None:
        """Not this one's to close."""

    def fileno(self) -> int:
        return int(self._now().fileno())

    def isatty(self) -> bool:
        return bool(self._now().isatty())

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def __repr__(self) -> str:
        return repr(self._now())

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return Later if self._until is not None else type(self._now())


class Standing:
    """While it is in use, `Later` stands for both streams."""

    def __init__(self) -> None:
        self._usual = [getattr(sys, name) for name in _NAMES]
        self._later = [Later(name) for name in _NAMES]

    def __enter__(self) -> Standing:
        for name, later in zip(_NAMES, self._later, strict=True):
            setattr(sys, name, later)
        return self

    def __exit__(self, *why: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name, later, usual in zip(_NAMES, self._later, self._usual, strict=True):
            setattr(sys, name, usual)
            later.begin()
