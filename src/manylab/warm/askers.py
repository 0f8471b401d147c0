"""Modules that ask, while they are imported, which IPython they run in: in a nursery there is none yet.

ipywidgets, plotly or matplotlib's inline backend set themselves up by the answer. They are imported anew in a kernel,
and so is everything that had imported them; what they in turn need stays preloaded.
"""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Mapping
from importlib.machinery import ExtensionFileLoader
from typing import Any, Final

_PLACES: Final = ("IPython", "IPython.core.getipython")
# These want to know no more than whether there is a kernel (how many columns are shown), and hear that there is.
_CONTENT: Final = frozenset({"pandas.core.config_init"})


class Askers:
    """While it is in use: who calls get_ipython(). Needs IPython to be imported."""

    def __init__(self, loading: list[str]) -> None:
        self.found: set[str] = set()
        usual = sys.modules[_PLACES[0]].get_ipython
        self._usual: Any = usual

        def get_ipython() -> Any:
            if loading:
                self.found.add(loading[-1])
            return usual()

        self._asked: Any = get_ipython

        def without_import() -> Any:
            name = loading[-1] if loading else ""
            if name in _CONTENT:
                return types.SimpleNamespace(kernel=None)
            self.found.add(name)
            raise NameError("name 'get_ipython' is not defined")

        self._built_in = without_import

    def __enter__(self) -> Askers:
        self._put(self._usual, self._asked, _PLACES)
        # In every cell, and in all that it imports, it is there without an import.
        builtins.get_ipython = self._built_in  # type: ignore[attr-defined]
        return self

    def __exit__(self, *why: object) -> None:
        del builtins.get_ipython  # type: ignore[attr-defined]
        self._put(self._asked, self._usual, list(sys.modules))

    @staticmethod
    def _put(old: object, new: object, names: Any) -> None:
        for name in names:
            space = getattr(sys.modules[name], "__dict__", {})
            for key in [key for key, value in list(space.items()) if value is old]:
                space[key] = new


def forget(asked: set[str], needs: Mapping[str, set[str]], kept: set[str]) -> set[str]:
    """Take these modules, and those that had imported them, out of this process; what cannot be is returned.

    kept: every kernel has these anyway, so what they asked had no effect.
    """
    gone = {name for name in asked if name not in kept}
    while more := {name for name, used in needs.items() if name not in gone and name not in kept and used & gone}:
        gone |= more
    stuck = {name for name in gone if isinstance(getattr(_spec(name), "loader", None), ExtensionFileLoader)}
    for name in gone - stuck:
        module = sys.modules.pop(name, None)
        parent, _, child = name.rpartition(".")
        holder = sys.modules.get(parent)
        if module is not None and holder is not None and vars(holder).get(child) is module:
            delattr(holder, child)
    return stuck


def _spec(name: str) -> Any:
    return getattr(sys.modules.get(name), "__spec__", None)
