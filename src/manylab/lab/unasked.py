"""Questions of every start whose answer is known: what an empty command line says, what the schemas of Jupyter's events
say and whether they are right, which settings a class has, whose the server environment is. Used by nurseries, before
they fork. Beside `known`, which needs JupyterLab.
"""

from __future__ import annotations

import functools
import json
import marshal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_core import paths
from jupyter_events import schema as events  # type: ignore[import-not-found,unused-ignore]
from traitlets import HasTraits, TraitType
from traitlets.config import Application, Config


class KnownEvents:
    """In place of what examines the schemas of Jupyter's events: one that was found valid is not examined again."""

    def __init__(self, real: Callable[[Any], None]) -> None:
        self._real = real
        self._valid: set[str] = set()

    def __call__(self, schema: Any) -> None:
        """As the real one; raises what it raises."""
        content = json.dumps(schema, default=str)
        if content not in self._valid:
            self._real(schema)
            # It mends some, and warns of them: those are none that are known.
            if json.dumps(schema, default=str) == content:
                self._valid.add(content)


def parse_command_line(self: Any, argv: Any = None) -> None:
    """In place of traitlets' own: an empty command line says nothing. To hear that from argparse, which is told of all
    settings of all classes for it, takes a fifth of a server's start, for its four applications.
    """
    if argv is None or len(argv):
        _parse_command_line(self, argv)
        return
    self.argv, self.extra_args, self.cli_config = [], [], Config()


_parse_command_line = Application.parse_command_line


class KnownSettings:
    """In place of `HasTraits.traits`, which each object of each class asks for its settings and which looks at all
    traits for it: a tenth of a server's start. A class that is given more traits is another class, as traitlets has it.
    """

    def __init__(self, real: Callable[..., dict[str, TraitType[Any, Any]]]) -> None:
        self._real = real
        self._known: dict[type, dict[str, TraitType[Any, Any]]] = {}

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, instance: Any, **metadata: Any) -> dict[str, TraitType[Any, Any]]:
        if metadata != {"config": True}:
            return self._real(instance, **metadata)
        cls = type(instance)
        if (known := self._known.get(cls)) is None:
            known = self._known[cls] = self._real(instance, **metadata)
        return dict(known)


class KnownYaml:
    """In place of what reads the schemas of Jupyter's events, which are YAML: each text is read once."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._known: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def loads(self, text: Any) -> Any:
        """As the real one; raises what it raises."""
        if not isinstance(text, str):
            return self._real.loads(text)
        if (known := self._known.get(text)) is None:
            said = self._real.loads(text)
            try:
                known = marshal.dumps(said)
            except ValueError:  # a date, say
                return said
            self._known[text] = known
        return marshal.loads(known)  # noqa: S302 (what this process itself made of it)

    def load(self, path: Any) -> Any:
        return self.loads(Path(str(path)).read_text(encoding="utf-8"))


def use() -> None:
    """Put them in place."""
    if not isinstance(events.validate_schema, KnownEvents):
        events.validate_schema = KnownEvents(events.validate_schema)
    Application.parse_command_line = parse_command_line
    if not isinstance(vars(HasTraits)["traits"], KnownSettings):
        HasTraits.traits = KnownSettings(HasTraits.traits)
    if isinstance(events.yaml, types.ModuleType):
        events.yaml = KnownYaml(events.yaml)
    # Asked 20 times, each time along the whole path. The rehearsal forgets what was answered in the nursery.
    if not hasattr(paths._do_i_own, "cache_clear"):
        paths._do_i_own = functools.cache(paths._do_i_own)
