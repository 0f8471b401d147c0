"""What is the same for every server and need not be worked out in each. Used by nurseries, before they fork."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from jupyter_server.extension import application
from jupyterlab_server import settings_utils  # type: ignore[import-not-found,unused-ignore]

from manylab.lab import parsed


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


class KnownEntryPoints:
    """In place of importlib.metadata.entry_points, which reads 150 files each time: 15 ms, and 14 times over to say
    what a notebook can be exported to. Read again when a folder of packages has changed.
    """

    def __init__(self, real: Any) -> None:
        self.real = real
        self._key: Any = None
        self._all: Any = None

    def __call__(self, **wanted: Any) -> Any:
        key = [(folder, _changed(folder)) for folder in sys.path]
        if key != self._key:
            self._all, self._key = self.real(), key
        return self._all.select(**wanted) if wanted else self.real()


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def use() -> None:
    """Put the shortcuts in place, also in what was imported since the last time."""
    _use_entry_points()
    _use_schemas()
    _use_files()


def _use_entry_points() -> None:
    ours = importlib.metadata.entry_points
    if not isinstance(ours, KnownEntryPoints):
        ours = KnownEntryPoints(ours)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("entry_points") is ours.real:
            module.entry_points = ours  # type: ignore[attr-defined]


def _use_schemas() -> None:
    # What does not look as it did when this was written is left alone.
    real = getattr(settings_utils, "Validator", None)
    if isinstance(real, KnownSchemas):
        return
    if real is None or not hasattr(real, "check_schema"):
        print("jupyterlab_server has changed: settings are examined in every server", file=sys.stderr)
        return
    settings_utils.Validator = KnownSchemas(real)


def _use_files() -> None:
    real = getattr(settings_utils, "_get_schema", None)
    if real is None:
        print("jupyterlab_server has changed: schemas are read in every server", file=sys.stderr)
    elif not isinstance(real, parsed.KnownSchemaFiles):
        settings_utils._get_schema = parsed.KnownSchemaFiles(real)
    environment = getattr(application, "Environment", None)
    if environment is None:
        print("jupyter_server has changed: templates are compiled in every server", file=sys.stderr)
    elif not isinstance(environment, parsed.KnowingEnvironment):
        application.Environment = parsed.KnowingEnvironment(environment)
