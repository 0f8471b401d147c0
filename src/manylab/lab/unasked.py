"""Questions of every start whose answer is known: what an empty command line says, and whether the schemas of Jupyter's
events are right. Used by nurseries, before they fork. Beside `known`, which needs JupyterLab.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jupyter_events import schema as events  # type: ignore[import-not-found,unused-ignore]
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


def use() -> None:
    """Put them in place."""
    if not isinstance(events.validate_schema, KnownEvents):
        events.validate_schema = KnownEvents(events.validate_schema)
    Application.parse_command_line = parse_command_line
