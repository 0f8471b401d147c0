"""Which environment variables the hub may send to the warden with a start. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# The contract with the warden: anything else (PATH, HOME, LD_PRELOAD, ...) is decided on the warden's side.
_PREFIXES = ("JUPYTERHUB_", "JPY_", "LC_")
_NAMES = frozenset({"LANG", "LANGUAGE", "TZ"})

# What the hub passes on from its own environment.
KEEP = ["LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"]


def allowed(name: str) -> bool:
    """Whether the warden accepts a variable of this name."""
    return name in _NAMES or name.startswith(_PREFIXES)


def split(env: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """What may be sent, and the names of what may not (for the log)."""
    kept = {name: str(value) for name, value in env.items() if allowed(name) and value is not None}
    return kept, sorted(name for name in env if not allowed(name))
