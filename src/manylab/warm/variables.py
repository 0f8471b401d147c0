"""Which environment variables must be for a person as they were when the nursery imported what it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

# Read by the interpreter, the loader or the C library when a program starts, where nobody can watch.
_ALWAYS: Final = (
    "PYTHON",
    "LD_",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "OPENSSL_",
    "PYDEVD_",
    "DEBUGPY_",
    "ARROW_",
    "JE_ARROW_",
)
# ... and by libraries for numbers, when they are loaded.
_NUMBERS: Final = ("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NPY_", "NUMPY_", "VECLIB_")
# Looked at only when they are needed, so that nothing depends on when.
_LATE: Final = frozenset({"PYTHONSTARTUP", "PYTHONBREAKPOINT", "PYTHON_COLORS", "PYTHON_HISTORY"})
# Set anew in the child for each library that has its own threads (`libraries`).
_THREADS: Final = frozenset({"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"})

_CONFIG: Final = frozenset({"matplotlib", "matplotlib.font_manager", "matplotlib.style", "matplotlib.texmanager"})
_HOMES: Final = frozenset({"jedi.settings", "parso.cache"}) | _CONFIG
# What these modules made of these variables when they were imported is made anew (`renewal`, `libraries`).
_RENEWED: Final[Mapping[str, frozenset[str]]] = {
    "HOME": _HOMES | {"sysconfig", "site"},
    "XDG_CACHE_HOME": _HOMES,
    "XDG_CONFIG_HOME": _CONFIG,
    "XDG_DATA_HOME": _CONFIG,
    "MPLCONFIGDIR": _CONFIG,
    "MATPLOTLIBRC": _CONFIG,
    "MPLBACKEND": _CONFIG,
    "PATH": _CONFIG,
    **dict.fromkeys(("NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS", "OMP_NUM_THREADS"), frozenset({"numexpr.utils"})),
    "TERM": frozenset({"IPython.utils.terminal"}),
    "USER": frozenset({"jupyter_client.session"}),
    "JPY_PARENT_PID": frozenset({"ipykernel.kernelapp"}),
    "JPY_INTERRUPT_EVENT": frozenset({"ipykernel.kernelapp"}),
}
# Different for everybody. The standard library asks for them when it needs them (sysconfig, the exception, is renewed).
_PERSONAL: Final = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"})
# They read on behalf of whoever called them.
_CARRIERS: Final = frozenset(
    {"os", "posixpath", "pathlib", "collections", "_collections_abc", "shutil", "subprocess", "tempfile", "getpass"}
)


class Readers:
    """While it is in use: who reads which environment variable."""

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = {}

    def __enter__(self) -> Readers:
        # The method and not another class: IPython, for one, remembers how to show `type(os.environ)`.
        kind, found = os._Environ, self.found
        usual = self._usual = kind.__getitem__

        def watched(self: Any, key: Any) -> Any:
            if self is os.environ and (caller := _caller()) is not None:
                found.setdefault(key, set()).add(caller)
            return usual(self, key)

        kind.__getitem__ = watched  # type: ignore[method-assign]
        return self

    def __exit__(self, *why: object) -> None:
        os._Environ.__getitem__ = self._usual  # type: ignore[method-assign]


def _caller() -> str | None:
    """Who asked; None when only a program of the machine was looked for, to run it."""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _CARRIERS:
        if frame.f_code.co_name == "get_exec_path":
            return None
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def why_cold(
    theirs: Mapping[str, str], ours: Mapping[str, str], readers: Mapping[str, Iterable[str]], libraries: Iterable[str]
) -> str | None:
    """A sentence when a variable would have made a difference. Pure.

    ours: the nursery's while it imported. libraries: kinds of number libraries in memory: "openblas", or others, which
    read their variables when they are loaded and never again.
    """
    loaded = set(libraries)
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) == ours.get(name) or name in _LATE:
            continue
        if name.startswith(_ALWAYS):
            return f"{name} is set, which Python or a library reads when it starts"
        if loaded and name.startswith(_NUMBERS) and not (name in _THREADS and loaded == {"openblas"}):
            return f"{name} is set, which a library that is loaded already has read"
        for reader in sorted(readers.get(name, ())):
            if _matters(name, reader):
                return f"{name} is set differently, and {reader} reads it when it is imported"
    return None


def _matters(name: str, reader: str) -> bool:
    """Whether what a module made of a variable when it was imported is not made anew."""
    if name in _PERSONAL and reader.partition(".")[0] in sys.stdlib_module_names:
        return False
    return reader not in _RENEWED.get(name, ())


def stale(now: Mapping[str, str], ours: Mapping[str, str], readers: Mapping[str, Iterable[str]]) -> set[str]:
    """Modules that would have read something else if they were imported now, after a cell has set a variable. Pure.

    Without pandas, which is set anew by `libraries`, and numpy: compiled modules keep to those they were loaded with.
    """
    return {
        reader
        for name, those in readers.items()
        if now.get(name) != ours.get(name)
        for reader in those
        if _matters(name, reader) and reader.partition(".")[0] not in ("numpy", "pandas")
    }
