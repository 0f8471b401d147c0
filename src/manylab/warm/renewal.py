"""What modules of every kernel made of their surroundings when the nursery imported them, made again for a person."""

from __future__ import annotations

import contextlib
import gc
import random
import site
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Seeds:
    """While it is in use: the generators of random numbers that modules make for themselves, without a seed."""

    def __init__(self) -> None:
        self.found: list[random.Random] = []
        self._usual = random.Random.__init__

    def __enter__(self) -> Seeds:
        usual, found = self._usual, self.found

        def noted(self: random.Random, x: Any = None) -> None:
            usual(self, x)
            if x is None:
                found.append(self)

        random.Random.__init__ = noted  # type: ignore[method-assign]
        return self

    def __exit__(self, *why: object) -> None:
        random.Random.__init__ = self._usual  # type: ignore[method-assign]

    def renew(self) -> None:
        """Seed them again; nothing else makes the numbers of two kernels differ."""
        for generator in self.found:
            generator.seed()


def own_packages() -> str | None:
    """A sentence when a cold interpreter would look at packages in the person's home; call in their environment."""
    site.USER_SITE = site.USER_BASE = None
    folder = site.getusersitepackages()
    if (variables := getattr(sys.modules.get("sysconfig"), "_CONFIG_VARS", None)) and "userbase" in variables:
        variables["userbase"] = site.USER_BASE
    if site.ENABLE_USER_SITE and Path(folder).is_dir():
        return f"{folder} has packages of their own"
    return None


def renew(environ: Mapping[str, str]) -> None:
    """Call in the child, in the person's environment."""
    gc.enable()
    thread: Any = threading.main_thread()
    if hasattr(thread, "_set_native_id"):
        thread._set_native_id()
    for change in (_kernel_app, _session, _terminal, _outputs):
        # Another version may keep it elsewhere; the tests compare warm and cold.
        with contextlib.suppress(AttributeError, KeyError):
            change(environ)


def _kernel_app(environ: Mapping[str, str]) -> None:
    application = sys.modules["ipykernel.kernelapp"].IPKernelApp
    _default(application, "parent_handle", int(environ.get("JPY_PARENT_PID") or 0))
    _default(application, "interrupt", int(environ.get("JPY_INTERRUPT_EVENT") or 0))


def _session(environ: Mapping[str, str]) -> None:
    _default(sys.modules["jupyter_client.session"].Session, "username", environ.get("USER", "username"))


def _default(owner: Any, name: str, value: object) -> None:
    """Give a trait another default than the one that was worked out when its class was made."""
    trait = owner.class_traits()[name]
    trait.default_value = value
    for each in [owner, *_below(owner)]:
        values = vars(each).get("_static_immutable_initial_values")
        if values is not None and name in values:
            values[name] = value


def _below(owner: Any) -> list[Any]:
    found = []
    for child in owner.__subclasses__():
        found += [child, *_below(child)]
    return found


def _terminal(environ: Mapping[str, str]) -> None:
    module: Any = sys.modules["IPython.utils.terminal"]
    module.TERM = environ.get("TERM", "")
    if module.TERM.startswith("xterm"):
        module._set_term_title = module._set_term_title_xterm
        module._restore_term_title = module._restore_term_title_xterm


def _outputs(environ: Mapping[str, str]) -> None:
    # These keep the standard output that there was when they were imported.
    sys.modules["IPython.utils.process"].system.__self__.logfile = sys.stdout
