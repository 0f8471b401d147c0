"""Modules that are loaded already and stay out of sight until somebody imports them.

A kernel that is forked with numpy in memory must look like one without: `sys.modules`, attributes of packages, files of
the same name that come earlier on the path, variables that are set in a cell before the import. So what was preloaded
is taken out of `sys.modules`; an import looks for the module as it always does and, when it finds the very file that
was preloaded, gets that module back, with all that this module had imported in its turn.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import importlib.machinery
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from manylab.warm import traces
from manylab.warm.recorder import BOOTSTRAP, Recorder

# Packages whose compiled modules are loaded only once and know others of theirs, or fill them when they are: of no use
# to a second copy. Only the package itself is imported anew; of numpy not even that because of what it needs.
_ONCE: Final = frozenset({"numpy", "pandas"})
_NONE: Final = object()  # in the place of a module that is not there


class Hidden:
    """What was preloaded and nobody has imported yet. when_imported: what to do when a module comes to light. stale:
    which modules would be different if they were imported now.
    """

    def __init__(self) -> None:
        self.stale: Callable[[], set[str]] = set
        self.modules: dict[str, types.ModuleType] = {}
        self.when_imported: dict[str, Callable[[types.ModuleType], None]] = {}
        self._needs: dict[str, set[str]] = {}
        self._left: dict[str, traces.Left] = {}
        self._order: dict[str, int] = {}
        self._specs: dict[str, Any] = {}
        self._children: set[str] = set()
        self._closures: dict[str, list[str]] = {}
        self._shown: set[str] = set()
        self._known: dict[str, types.ModuleType] = {}  # that can be seen, or could
        self._meta_path: list[object] = []
        self._path_hooks: list[object] = []
        self._path: list[str] = []
        self._findable: set[str] = set()
        self._exits: dict[str, list[tuple[Any, Any, Any]]] = {}
        self._capsules: dict[str, dict[str, Any]] = {}  # of packages that are imported anew
        self._find_spec = BOOTSTRAP._find_spec

    def hide(self, names: Iterable[str], recorder: Recorder, order: Iterable[str] = ()) -> None:
        """Take these out of sight. Nobody may import or use them until `use` was called.

        order: in which those that stay have been imported by a process that imported nothing else.
        """
        self._needs = recorder.needs
        self._left = {name: left for name, left in recorder.left.items() if any(left)}
        self._order = {name: place for place, name in enumerate(sys.modules)}
        wanted = [name for name in names if name in sys.modules]
        for name in wanted:
            self.modules[name] = sys.modules.pop(name)
        for name, module in self.modules.items():
            self._specs[name] = getattr(module, "__spec__", None)
            self._needs[name] |= self._used_by(name, module)
            parent, _, child = name.rpartition(".")
            holder = self.modules.get(parent) or sys.modules.get(parent)
            if holder is None:
                continue
            if vars(holder).get(child) is module:
                delattr(holder, child)
                self._children.add(name)
            if parent not in self.modules and "__getattr__" in vars(holder):
                # A package that is seen and fetches names when they are asked for has not been asked yet.
                for key in [key for key, value in vars(holder).items() if getattr(value, "__module__", "") == name]:
                    delattr(holder, key)
        for name in wanted:
            # What they do at the end is not done in a process that has not imported them.
            for function, words, more in recorder.exits.get(name, ()):
                if getattr(function, "__module__", None) in self.modules:
                    atexit.unregister(function)
                    self._exits.setdefault(name, []).append((function, words, more))
        for name in [name for name in wanted if "." not in name]:
            self._closures[name] = self._closure(name)
        self._findable = {name for name in self.modules if "." not in name and self._is_found(name)}
        _as_if_new(order)

    def _is_found(self, name: str) -> bool:
        """Whether the usual way to look for a module leads to this one. name: without a dot."""
        try:
            spec = self._find_spec(name, None)
        except Exception:
            return False
        return spec is not None and _same(spec, self._specs[name])

    def _used_by(self, name: str, module: types.ModuleType) -> set[str]:
        """Modules among its names: compiled modules import without that Python is asked."""
        found = set()
        for key, value in list(vars(module).items()) if isinstance(module, types.ModuleType) else ():
            if isinstance(value, types.ModuleType):
                other = value.__name__
                if self.modules.get(other) is value and other != f"{name}.{key}":
                    found.add(other)
        return found

    def _closure(self, name: str) -> list[str]:
        """The module and all that has to be there with it, in the order in which they were loaded once."""
        found, left = set[str](), [name]
        while left:
            here = left.pop()
            if here in found:
                continue
            found.add(here)
            left += self._needs.get(here, ())
            parent = here.rpartition(".")[0]
            if parent:
                left.append(parent)
        return sorted((each for each in found if each in self._order), key=self._order.__getitem__)

    def use(self) -> None:
        """From now on an import finds them. What IPython needs from its start was never out of sight: renewed now."""
        self._renew(sys.modules)
        self._meta_path, self._path_hooks = list(sys.meta_path), list(sys.path_hooks)
        self._import = builtins.__import__
        self._path = [entry for entry in sys.path if entry]
        self._known = dict(sys.modules)
        BOOTSTRAP._find_spec = self._find

    def shadow(self, folder: str) -> str | None:
        """A file in this folder that an import there would find in the place of one of these, directly or because one
        of these needs it; None when there is none. Raises OSError.
        """
        suffixes = importlib.machinery.all_suffixes()
        for entry in sorted(os.listdir(folder)):  # noqa: PTH208
            name = entry.partition(".")[0]
            # IPython puts the folder after Python's own modules and before packages.
            if name not in self.modules or name in sys.stdlib_module_names:
                continue
            if entry.removeprefix(name) in suffixes:
                return f"{folder}/{entry}"
            if entry == name and any(os.path.exists(f"{folder}/{name}/__init__{end}") for end in suffixes):  # noqa: PTH110
                return f"{folder}/{entry}"
        return None

    def prepared(self, name: str) -> None:
        """Work out now what comes with it."""
        self._closures.setdefault(name, self._closure(name))

    def _find(self, name: str, path: Any, target: Any = None) -> Any:
        module = self.modules.get(name)
        if module is None or target is not None:
            return self._with_capsules(name, self._find_spec(name, path, target))
        if broken := self._broken(name):
            self._forget(broken)
            if name not in self.modules:
                return self._with_capsules(name, self._find_spec(name, path))
        if name.rpartition(".")[0] not in self._shown or sys.meta_path != self._meta_path:
            found = self._find_spec(name, path)
            if found is None or not _same(found, self._specs[name]):
                return found
        return importlib.machinery.ModuleSpec(name, _loader(self, name), is_package=hasattr(module, "__path__"))

    def _broken(self, name: str) -> set[str]:
        """What came with this module in the nursery and would not come with it now: it was taken away, another one is
        in its place, it is forbidden, or it would be found elsewhere.
        """
        closure = self._closures.get(name) or self._closure(name)
        there, hidden, known = sys.modules.get, self.modules.get, self._known.get
        found = set()
        for each in closure:
            now: Any = there(each, _NONE)
            ours: Any = hidden(each)
            if ours is None:
                ours = known(each, now) if each != "__main__" else now
            elif now is _NONE:
                continue
            if now is not ours:
                found.add(each)
        found |= self.stale().intersection(closure) & self.modules.keys()
        # The working folder, which IPython puts in, comes after Python's own modules.
        moved = [entry for entry in sys.path if entry] != self._path
        for each in self._findable.intersection(closure) & self.modules.keys() - {name}:
            if (moved or each not in sys.stdlib_module_names) and not self._is_found(each):
                found.add(each)
        if builtins.__import__ is not self._import:
            found |= {each for each in closure if each in self.modules and not _is_once(each)}
        for finder in self._new_finders():
            found |= {each for each in closure if each in self.modules and self._other(finder, each)}
        return found

    def _new_finders(self) -> list[Any]:
        """Those that are asked before all that were there at the start."""
        found = []
        for finder in sys.meta_path:
            if any(finder is old for old in self._meta_path):
                break
            found.append(finder)
        if sys.path_hooks != self._path_hooks:
            found.append(importlib.machinery.PathFinder)
        return found

    def _other(self, finder: Any, name: str) -> bool:
        """Whether this finder has something to say about a module, who would not have been asked in the nursery."""
        parent = name.rpartition(".")[0]
        holder = self.modules.get(parent) or sys.modules.get(parent)
        try:
            spec = finder.find_spec(name, getattr(holder, "__path__", None), None)
        except AttributeError:
            return False
        except Exception:
            return True  # it will say so once more, to whoever imports
        return spec is not None and not _same(spec, self._specs[name])

    def _forget(self, broken: set[str]) -> None:
        """Have nothing ready any more that needs one of these: it is imported as usual. But for compiled modules, of
        which many can be loaded only once.
        """
        gone = set(broken)
        # Copies: other threads import as well.
        while more := {name for name in list(self.modules) if name not in gone and self._uses(name) & gone}:
            gone |= more
        for name in gone & self.modules.keys():
            if _is_once(name) and ("." in name or (name == "numpy" and name not in broken)):
                continue
            if not isinstance(getattr(self._specs[name], "loader", None), importlib.machinery.ExtensionFileLoader):
                names = _names(self.modules.pop(name, None)).items()
                if capsules := {key: value for key, value in names if type(value).__name__ == "PyCapsule"}:
                    self._capsules[name] = capsules
        if "numpy" in gone and "numpy" not in self.modules:
            _first_time(self.modules.get("numpy._core._multiarray_umath"))
        self._closures.clear()

    def _with_capsules(self, name: str, spec: Any) -> Any:
        """What compiled modules, which stay, have put into a package for each other: they look there once more, and
        end the process where it is not (pandas' dates in JSON).
        """
        if spec is not None and (capsules := self._capsules.pop(name, None)) is not None:
            loader = spec.loader

            def create_module(_: Any) -> types.ModuleType:
                del loader.create_module
                module = types.ModuleType(name)
                vars(module).update(capsules)
                return module

            with contextlib.suppress(AttributeError):  # somebody's own loader
                loader.create_module = create_module
        return spec

    def _uses(self, name: str) -> set[str]:
        return {*self._needs.get(name, ()), name.rpartition(".")[0]}

    def show(self, name: str) -> None:
        """Bring it to light, with what it had imported."""
        ready = {}
        for each in self._closures.get(name) or self._closure(name):
            # Not in the place of a file of the same name that a cell has imported in the meantime.
            if (module := self.modules.get(each)) is not None and sys.modules.get(each, module) is module:
                ready[each] = module
        shown = {}
        for each, module in ready.items():
            # Nor a compiled one of a package that is still to be imported, because it was forgotten.
            parent = each.rpartition(".")[0]
            if each == name or not parent or parent in ready or parent in sys.modules:
                shown[each] = module
        for each, module in shown.items():
            parent, _, child = each.rpartition(".")
            holder = shown.get(parent) or sys.modules.get(parent)
            if each in self._children and holder is not None:
                setattr(holder, child, module)
            if (left := self._left.get(each)) is not None:
                traces.leave(left)
            for function, words, more in self._exits.pop(each, ()):
                atexit.register(function, *words, **more)
        # At once: another thread sees all of it or nothing.
        sys.modules.update(shown)
        self._shown.update(shown)
        self._known.update(shown)
        for each in shown:
            self.modules.pop(each, None)
        self._renew(shown)

    def _renew(self, modules: Mapping[str, types.ModuleType]) -> None:
        # A package before what is in it.
        for each in sorted(self.when_imported.keys() & modules.keys(), key=lambda name: name.count(".")):
            self.when_imported[each](modules[each])


def _as_if_new(order: Iterable[str]) -> None:
    """`sys.modules` in this order, and no larger than if nothing else had ever been in it."""
    modules = dict(sys.modules)
    sys.modules.clear()
    for name in dict.fromkeys([*order, *modules]):
        if name in modules:
            sys.modules[name] = modules[name]


def _same(found: Any, ours: Any) -> bool:
    """Whether both lead to the same file (or are the same built-in, or the same folders without a file)."""
    if ours is None or found.origin != ours.origin:
        return False
    folders = [list(spec.submodule_search_locations or ()) for spec in (found, ours)]
    if found.origin is None and folders[0] != folders[1]:
        return False
    # A finder that wraps the loader wants to be asked to load.
    return type(found.loader) is type(ours.loader)


def _is_once(name: str) -> bool:
    return name.partition(".")[0] in _ONCE


def _names(module: Any) -> dict[str, Any]:
    return dict(vars(module)) if isinstance(module, types.ModuleType) else {}


def _first_time(compiled: Any) -> None:
    """numpy/__init__.py, which is run again: for this kernel it is the first time, nothing to warn of."""
    if (usual := getattr(compiled, "_reload_guard", None)) is None:
        return

    def once() -> None:
        compiled._reload_guard = usual

    compiled._reload_guard = once


def _loader(hidden: Hidden, name: str) -> Any:
    """Not a subclass of a loader: those bring methods that would look for a file."""
    return _Shown(hidden, name)


class _Shown:
    """A loader for which there is nothing left to load."""

    def __init__(self, hidden: Hidden, name: str) -> None:
        self.hidden, self.name = hidden, name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self.hidden.modules[self.name]

    def exec_module(self, module: types.ModuleType) -> None:
        if (spec := self.hidden._specs[self.name]) is not None:
            module.__spec__ = spec
        self.hidden.show(self.name)


# What of this is in a traceback belongs to the import, and is left out of it as importlib's own steps are.
for _function in (Hidden._find, Hidden.show, _Shown.create_module, _Shown.exec_module):
    _function.__code__ = _function.__code__.replace(co_filename="<frozen importlib._bootstrap>")
