"""What a nursery imports, from where it agrees to import, and which of its modules serves a child."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from manylab.warm import wire

Serve = Callable[[wire.Conversation, wire.Peer, dict[str, Any], Callable[[], None]], None]

# Which module serves a child; the other kind's is not imported.
_SERVING: Final = {"server": "manylab.warm.servers", "kernel": "manylab.warm.callers"}
_KERNELS: Final = "manylab.warm.kernels"


class NotQuiet(SystemExit):
    """The nursery cannot be used, and says why on its standard error."""


def prepare(spec: dict[str, Any]) -> Serve:
    """Import and rehearse; what serves a child. What fails is left out: a start is then slower, never wrong."""
    serve: Serve = importlib.import_module(_SERVING[spec["kind"]]).serve
    if spec["kind"] == "kernel":
        importlib.import_module(_KERNELS).prepare(spec["modules"])
        return serve
    for name in spec["modules"]:
        module, _, function = name.partition(":")
        try:
            found = importlib.import_module(module)
            if function:
                getattr(found, function)()
        except Exception:
            traceback.print_exc()
    return serve


def check() -> None:
    """As sshd's StrictModes: nothing was imported from where others can write; nothing runs beside the one thread.

    Raises NotQuiet.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads != 1:
        raise NotQuiet(f"nursery: {threads} threads run, and a fork would take one of them along")
    ours = {0, os.getuid()} if os.getuid() >= 1000 else {0}
    seen: set[Path] = set()
    modules = list(sys.modules.values())
    if (kernels := sys.modules.get(_KERNELS)) is not None:
        modules += kernels.preloaded()
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for entry in [*sys.path, *libraries, *(getattr(module, "__file__", None) for module in modules)]:
        if not isinstance(entry, str) or not entry.startswith("/"):
            continue
        path = Path(os.path.realpath(entry))
        for part in (path, *path.parents):
            if part in seen:
                break
            seen.add(part)
            _trusted(part, ours)


def _trusted(path: Path, owners: set[int]) -> None:
    try:
        found = path.stat()
    except OSError:  # python311.zip, which is on every sys.path and nowhere else
        return
    if found.st_uid not in owners:
        raise NotQuiet(f"nursery: {path} belongs to uid {found.st_uid}, who could change what everybody runs")
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not sticky:
        raise NotQuiet(f"nursery: {path} can be written by others, who could change what everybody runs")
