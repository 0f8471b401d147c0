"""The environment of the server itself, apart from what kernels, terminals and other programs of the person get.

`os.environ` of the server is the person's: with it the server starts kernels, terminals, applications, git and
language servers, and none of them knows more of the server than a program in any JupyterHub does. What is the server's
own is in `environ` here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jupyter_core import paths  # type: ignore[import-not-found,unused-ignore]

from manylab.warm import wire

# Variables of the server itself. MANYLAB_JUPYTER_PATH is what Jupyter's own code in it reads as JUPYTER_PATH.
_PREFIX: Final = "MANYLAB_"
_JUPYTER: Final = "MANYLAB_JUPYTER_"
# By this one the warden finds what a server started, wherever it went.
_FOR_ALL: Final = frozenset({wire.SERVER_VARIABLE})

# nbdime's, which imports GitPython and does not want to hear that there is no git.
_SET_BY_IMPORTS: Final = frozenset({"GIT_PYTHON_REFRESH"})

# Everything that this server was started with, and the variables that only its own code is to see.
environ: Final[dict[str, str]] = {}


def separate(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The server's environment and the person's. Pure; MANYLAB_SOCKET has to be in it."""
    server = {name.removeprefix(_PREFIX): value for name, value in given.items() if name.startswith(_JUPYTER)}
    server["JUPYTER_RUNTIME_DIR"] = str(Path(given["MANYLAB_SOCKET"]).parent / "jupyter")
    theirs = {name: value for name, value in given.items() if name in _FOR_ALL or not name.startswith(_PREFIX)}
    return {**given, **server}, theirs


def use(server: Mapping[str, str]) -> None:
    """Make it the environment that Jupyter's own code finds its folders by, and that `environ` has.

    `jupyter_core.paths` is the only place where a server reads JUPYTER_CONFIG_DIR, JUPYTER_PATH and their like, and it
    reads them from `os.environ` each time; there is no other way to tell it.
    """
    environ.clear()
    environ.update(server)
    module: Any = paths
    module.os = _OtherEnvironment(environ)


def forget_what_imports_set(theirs: Mapping[str, str]) -> None:
    """Take out of `os.environ` what modules of the server put there for themselves when they were imported."""
    for name in _SET_BY_IMPORTS - theirs.keys():
        os.environ.pop(name, None)


class _OtherEnvironment:
    """The module `os`, but for its `environ`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)
