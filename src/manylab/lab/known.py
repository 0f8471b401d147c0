"""What is the same for every server and need not be worked out in each. Used by nurseries, before they fork."""

from __future__ import annotations

import json
import sys
from typing import Any

from jupyterlab_server import settings_utils  # type: ignore[import-not-found,unused-ignore]


class KnownSchemas:
    """In place of the validator of JupyterLab's settings: a schema that was found valid once is not examined again.

    To examine the 80 or so schemas takes 50 ms of CPU each time a browser loads JupyterLab, and nothing can be set to
    leave it out. A schema is known by its whole content, so one that somebody's settings change is examined as ever.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self._valid: set[str] = set()

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        return self._real(*arguments, **more)

    def check_schema(self, schema: Any) -> None:
        """As the real one; raises what it raises."""
        content = json.dumps(schema)
        if content not in self._valid:
            self._real.check_schema(schema)
            self._valid.add(content)


def use() -> None:
    """Put the shortcuts in place; what does not look as it did when this was written is left alone."""
    real = getattr(settings_utils, "Validator", None)
    if isinstance(real, KnownSchemas):
        return
    if real is None or not hasattr(real, "check_schema"):
        print("jupyterlab_server has changed: settings are examined in every server", file=sys.stderr)
        return
    settings_utils.Validator = KnownSchemas(real)
