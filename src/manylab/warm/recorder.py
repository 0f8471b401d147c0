"""Watches imports of what is preloaded: what each module had imported, left elsewhere, and wants to do at the end."""

from __future__ import annotations

import atexit
import builtins
import importlib
import importlib.machinery
import sys
import types
from collections import defaultdict
from typing import Any, Final

from manylab.warm import traces

# Where CPython's import statement looks up its steps, 3.10 to 3.14. `importlib.util.find_spec` has its own and stays
# as it is: it answers as if nothing was preloaded.
BOOTSTRAP: Final[Any] = importlib._bootstrap


class Recorder:
    """While it is in use: which module had which others imported. A missing or superfluous one costs nothing but
    fidelity of `sys.modules`: what is got back is always the one module there is.
    """

    def __init__(self) -> None:
        self.needs: defaultdict[str, set[str]] = defaultdict(set)
        self.loading: list[str] = []
        self.left: dict[str, traces.Left] = {}
        self.exits: defaultdict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
        self._register = atexit.register
        self._ways: set[str] = set()
        self._load, self._find = BOOTSTRAP._load_unlocked, BOOTSTRAP._find_and_load
        self._import = builtins.__import__

    def __enter__(self) -> Recorder:
        BOOTSTRAP._load_unlocked = self._load_unlocked
        BOOTSTRAP._find_and_load = self._find_and_load
        builtins.__import__ = self._statement
        atexit.register = self._at_exit  # type: ignore[assignment]
        return self

    def __exit__(self, *why: object) -> None:
        BOOTSTRAP._load_unlocked = self._load
        BOOTSTRAP._find_and_load = self._find
        builtins.__import__ = self._import
        atexit.register = self._register

    def _at_exit(self, function: Any, *words: Any, **more: Any) -> Any:
        if self.loading:
            self.exits[self.loading[-1]].append((function, words, more))
        return self._register(function, *words, **more)

    def _note(self, name: str) -> None:
        if self.loading:
            self.needs[self.loading[-1]].add(name)

    def _load_unlocked(self, spec: importlib.machinery.ModuleSpec) -> Any:
        self._note(spec.name)
        self.loading.append(spec.name)
        before, scene = len(sys.modules), traces.Scene()
        try:
            return self._load(spec)
        finally:
            self.loading.pop()
            # Compiled modules put others beside them without an import.
            self.needs[spec.name].update(list(sys.modules)[before:])
            self._leave(spec.name, scene.left_since())

    def _leave(self, name: str, left: traces.Left) -> None:
        """What this module left, without what others did that it imported."""
        others = [self.left[each] for each in self.needs[name] if each in self.left]
        left = left.without(others)
        # Of a package's many modules the first one that was looked for: each that is shown costs a little.
        way = [entry for entry in traces.way_to(name) if entry[1] not in self._ways]
        self._ways.update(entry[1] for entry in way)
        self.left[name] = left._replace(entries=(*left.entries, *way))

    def _find_and_load(self, name: str, import_: Any) -> Any:
        self._note(name)
        return self._find(name, import_)

    def _statement(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> types.ModuleType:
        found = self._import(name, globals, locals, fromlist, level)
        if self.loading:
            full = name
            if level and globals is not None:
                full = BOOTSTRAP._resolve_name(name, BOOTSTRAP._calc___package__(globals), level)
            self._note(full)
            for item in fromlist or ():
                if f"{full}.{item}" in sys.modules:
                    self._note(f"{full}.{item}")
        return found
