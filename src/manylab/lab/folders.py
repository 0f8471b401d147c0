"""Folders in a person's home that JupyterLab writes to, and what to do when they are no use.

A ~/.jupyter that belongs to root (from one `sudo jupyter`), a full disk, or a settings file that was half written when
the disk filled up: the server starts all the same, and says in its log what it did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import json5

# variable -> (where it is unless the variable says otherwise, name of the stand-in)
FOLDERS = {
    "JUPYTER_DATA_DIR": (".local/share/jupyter", "data"),
    "JUPYTERLAB_SETTINGS_DIR": (".jupyter/lab/user-settings", "settings"),
    "JUPYTERLAB_WORKSPACES_DIR": (".jupyter/lab/workspaces", "workspaces"),
}
SETTINGS = "*.jupyterlab-settings"
WORKSPACES = "*.jupyterlab-workspace"


def usable(folder: Path) -> bool:
    """Whether one can work in the folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def prepare(environ: Mapping[str, str], home: Path, say: Callable[[str], None]) -> dict[str, str]:
    """The variables that name these folders; one that is no use is replaced by a stand-in beside the runtime files.

    What is in a stand-in is lost when the server ends. Broken files are set aside, never deleted.
    """
    chosen = {}
    for variable, (usual, name) in FOLDERS.items():
        folder = Path(environ.get(variable, home / usual))
        if not usable(folder):
            stand_in = Path(environ["JUPYTER_RUNTIME_DIR"]) / "stand-in" / name
            say(f"{folder} cannot be used (whose is it? is the disk full?); using {stand_in} until this server ends")
            folder = stand_in
            folder.mkdir(parents=True, exist_ok=True)
        chosen[variable] = str(folder)
    for path in set_aside_broken(Path(chosen["JUPYTERLAB_SETTINGS_DIR"]), SETTINGS):
        say(f"{path} could not be read and was renamed; its settings are back to what they are for everybody")
    for path in set_aside_broken(Path(chosen["JUPYTERLAB_WORKSPACES_DIR"]), WORKSPACES):
        say(f"{path} could not be read and was renamed; JupyterLab opens as if for the first time")
    return chosen


def readable(text: str) -> bool:
    """Whether it is a JSON object, with the comments that JupyterLab allows in settings."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        pass
    try:
        return isinstance(json5.loads(text), dict)
    except Exception:  # json5 raises more than ValueError, RecursionError among them
        return False


def set_aside_broken(folder: Path, pattern: str) -> list[Path]:
    """Renames files that JupyterLab would answer 500 for (and then stay empty); returns their new names."""
    moved = []
    for path in sorted(folder.rglob(pattern)):
        try:
            if path.is_symlink() or not path.is_file() or readable(path.read_text(encoding="utf-8")):
                continue
        except UnicodeDecodeError:
            pass
        except OSError:
            continue
        target = path.with_name(path.name + ".broken")
        try:
            path.replace(target)
        except OSError:
            continue
        moved.append(target)
    return moved
