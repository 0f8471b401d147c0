"""A configuration for other eyes: passwords and tokens taken out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manylab.config import walk

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(r"secret|passw|token|credential|api_?key|private|auth_key|crypt", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/\s]*@")


def visible(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of `Config.as_data` without secrets: what a screen, a log or a support request may show."""
    found: dict[str, Any] = _visible(data, ())
    return found


def _visible(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _visible(item, (*path, str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [_visible(item, path) for item in value]
    free = path[0] == "jupyterhub" or path[:2] == ("servers", "environment")
    if free and any(_SECRET_NAME.search(part) for part in path[1:]):
        return HIDDEN
    declared = walk.find(path)
    if isinstance(value, str) and (free or (declared and declared.secret)):
        return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", value)
    return value
