"""What `-f FILE` says, the whole command line of nearly every kernel, without argparse.

traitlets tells argparse of every setting of every class to hear it: a tenth of a kernel's start. Looked up once in the
nursery, by an application of its own, and used only for that command line and a path that means nothing but itself.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

_EXAMPLE: Final = "/run/example/kernel-0.json"
_PLAIN: Final = re.compile(r"/[A-Za-z0-9_+.,@%=/-]+", re.ASCII)


class Said:
    """What it says, in the place of a loader of traitlets: `load_config` and `extra_args`."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.extra_args: list[str] = []

    def load_config(self) -> Any:
        return self.config


class Known:
    """`learn` in the nursery, `use` in a child."""

    def __init__(self) -> None:
        self._said: Any = None
        self._modules: tuple[str, ...] = ()

    def learn(self) -> None:
        """Ask argparse once. When the answer is not what is expected, as another version's may be, nothing is known."""
        before = set(sys.modules)
        with contextlib.suppress(AttributeError, TypeError):
            self._said = self._ask()
        self._modules = tuple(name for name in sys.modules if name not in before)

    @staticmethod
    def _ask() -> Any:
        # With a log that nobody keeps: its own would be set up, which closes everybody's.
        application = sys.modules["ipykernel.kernelapp"].IPKernelApp(log=logging.Logger(__name__))
        flags, aliases = application.flatten_flags()
        classes = list(application._classes_with_config_traits())
        loader = application._create_loader(["-f", _EXAMPLE], aliases, flags, classes=classes)
        said = loader.load_config()
        usual = {name: dict(value) for name, value in said.items()} == {"IPKernelApp": {"connection_file": _EXAMPLE}}
        return said if usual and loader.extra_args == [] else None

    def use(self) -> None:
        """For this process's application, once."""
        application = sys.modules["ipykernel.kernelapp"].IPKernelApp
        if self._said is None or "_create_loader" in vars(application):
            return

        def create_loader(app: Any, argv: Sequence[str], *about: Any, **more: Any) -> Any:
            del application._create_loader
            argv = list(argv or ())
            plain = len(argv) == 2 and argv[0] == "-f" and _PLAIN.fullmatch(argv[1]) is not None
            if not plain or type(app) is not application or "_ARGCOMPLETE" in os.environ:
                return app._create_loader(argv, *about, **more)
            for name in self._modules:
                importlib.import_module(name)
            _ = app.log  # set up now, as when the loader is given it
            said = copy.deepcopy(self._said)
            said.IPKernelApp.connection_file = type(said.IPKernelApp.connection_file)(argv[1])
            return Said(said)

        application._create_loader = create_loader
