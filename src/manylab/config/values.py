"""The kinds of value a setting can have: each checks a TOML value and gives it the form that the program uses.

Every function raises `Wrong` with what is wrong and, where there is one, the way out. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from manylab.base import names
from manylab.base.errors import BadName

LIBRARY_PATH = "LD_LIBRARY_PATH"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])", re.IGNORECASE | re.ASCII)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
# PEP 440's clauses: a wildcard only after == and !=, at least two numbers after ~=.
_CLAUSE = re.compile(
    r"(?:==|!=)\s*3(?:\.\d+){0,2}(?:\.\*)?|(?:<=|>=|<|>)\s*3(?:\.\d+){0,2}|~=\s*3(?:\.\d+){1,2}", re.ASCII
)

AUTHENTICATORS = (
    *("pam", "shared-password", "ldap", "oidc", "github", "gitlab", "google", "azuread", "cilogon"),
    "dummy",
)
# The warden sets these for each server (docs/explanation/architecture.md), or they change what runs before it is the
# person's.
_OWN_VARIABLES = re.compile(
    r"(?:PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|XDG_RUNTIME_DIR|PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|LD_.*|JUPYTERHUB_.*|JPY_.*"
    r"|JUPYTER_CONFIG_DIR|JUPYTER_PATH|JUPYTER_RUNTIME_DIR|MANYLAB_.*)"
)


class Wrong(ValueError):
    """A value that a setting cannot have: what is wrong, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def toml(value: Any) -> str:
    """A value as it would be written in TOML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.translate(_ESCAPES) + '"'
    if isinstance(value, Mapping):
        pairs = (f"{name if _BARE_KEY.fullmatch(name) else toml(name)} = {toml(item)}" for name, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


def shown(value: Any) -> str:
    """A value for a message: as in TOML, cut to one short line, without what a table holds."""
    text = "a table" if isinstance(value, Mapping) else toml(value)
    return text if len(text) <= 80 else text[:76] + " ..."


_ESCAPES = {code: f"\\u{code:04x}" for code in [*range(32), 127]} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\t"): "\\t",
}


def text(value: Any) -> str:
    if not isinstance(value, str):
        one_thing = not isinstance(value, (Mapping, list, tuple))
        raise Wrong(f"expected text, got {shown(value)}", f'write it in quotes: "{shown(value)}"' if one_thing else "")
    if "\0" in value:
        raise Wrong("text cannot contain a NUL character")
    return value


def line(value: Any) -> str:
    """Text of one line, without control characters, not empty."""
    checked = text(value).strip()
    if not checked:
        raise Wrong("cannot be empty")
    if not checked.isprintable():
        raise Wrong(f"{shown(checked)} is not one line of plain text")
    return checked


def size(value: Any) -> int | None:
    """Bytes; None for "none". Units are powers of 1024, as in systemd and JupyterHub."""
    if value is None or value == "none":
        return None
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        hint = 'write a number and K, M, G or T, such as "512M" or "2G", or "none" for no limit'
        raise Wrong(f"{shown(value)} is not a size", hint)
    return int(float(found[1]) * _UNITS[found[2].upper()])


def size_text(value: int | None) -> str:
    """The shortest way to write a size: 2147483648 -> "2G"."""
    if value is None:
        return "none"
    for unit, factor in reversed(_UNITS.items()):
        if value >= factor and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value / 1024:.10g}K"


def memory(value: Any) -> int | None:
    # A JupyterLab server takes about 115 MB before a kernel runs (DESIGN.md, "Warm start").
    amount = size(value)
    if amount is not None and amount < 256 * 2**20:
        raise Wrong(f"{shown(value)} is too little for a JupyterLab server and one kernel", 'the least is "256M"')
    return amount


def total_memory(value: Any) -> int | str | None:
    """Bytes; "auto" as it is; None for "none"."""
    if value == "auto":
        return "auto"
    try:
        amount = size(value)
    except Wrong as wrong:
        raise Wrong(wrong.message, wrong.hint + ', or "auto"') from None
    if amount is not None and amount < 512 * 2**20:
        raise Wrong(f"{shown(value)} is too little for two servers", 'the least is "512M"')
    return amount


def duration(value: Any) -> int:
    """Seconds."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise Wrong(f"{shown(value)} is not a duration", 'write a number and s, m, h or d, such as "90s" or "1h30m"')
    return sum(
        int(part) * factor for part, factor in zip(found.groups(), _SECONDS.values(), strict=True) if part is not None
    )


def duration_text(value: int | None) -> str:
    """The way to write a duration: 5400 -> "1h30m"."""
    if value is None:
        return "never"
    parts = []
    left = value
    for unit, factor in _SECONDS.items():
        count, left = divmod(left, factor)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def idle_timeout(value: Any) -> int | None:
    """Seconds; None for "never"."""
    if value is None or value == "never":
        return None
    try:
        seconds = duration(value)
    except Wrong as wrong:
        raise Wrong(wrong.message, wrong.hint + ', or "never"') from None
    if seconds < 600:
        raise Wrong(
            f"{shown(value)} would end servers that are in use",
            'activity is reported every 5 minutes, so the least is twice that, "10m"',
        )
    return seconds


def forever(value: Any) -> int | None:
    """Seconds; None for "never"."""
    return None if value is None or value == "never" else duration(value)


def start_timeout(value: Any) -> int:
    return _between(value, 10, 3600)


def members_check(value: Any) -> int:
    return _between(value, 1, 3600)


def _between(value: Any, least: int, most: int) -> int:
    seconds = duration(value)
    if not least <= seconds <= most:
        raise Wrong(f"{shown(value)} is out of range", f'use "{duration_text(least)}" to "{duration_text(most)}"')
    return seconds


def cpu(value: Any) -> float | None:
    """Processors; None for "none"."""
    if value is None or value == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong(f"expected a number of processors, got {shown(value)}", 'such as 2 or 0.5, or "none" for no limit')
    if not math.isfinite(value) or not 0.05 <= value <= 1024:
        raise Wrong(f"{shown(value)} processors cannot be a limit", 'use 0.05 to 1024, or "none" for no limit')
    return float(value)


def tasks(value: Any) -> int | None:
    """Processes and threads; None for "none"."""
    if value is None or value == "none":
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"expected a whole number, got {shown(value)}", 'such as 4096, or "none" for no limit')
    # numpy's threads alone are one a processor; a server with one kernel was seen with about 60.
    if not 128 <= value <= 4_194_304:
        raise Wrong(f"{value} is out of range", 'use 128 to 4194304, or "none" for no limit')
    return value


def account(value: Any) -> str:
    try:
        name = names.account(text(value))
    except BadName as bad:
        raise Wrong(bad.message, bad.hint) from None
    if name == "root":
        raise Wrong("root never signs in", "name the account of a person")
    return name


def group(value: Any) -> str:
    try:
        name = names.group(text(value))
    except BadName as bad:
        raise Wrong(bad.message, bad.hint) from None
    if name in ("root", "manylab-hub", "manylab-proxy"):
        raise Wrong(f"{shown(name)} is a group of system accounts, not of people", 'use a group such as "manylab"')
    return name


def environment_name(value: Any) -> str:
    try:
        name = names.environment(text(value))
    except BadName as bad:
        raise Wrong(bad.message, bad.hint) from None
    if name in ("hub", "server", "proxy", "tool"):
        raise Wrong(f"{shown(name)} is the name of one of manylab's own environments", "choose another name")
    return name


def line_or_nothing(value: Any) -> str:
    """One line, or nothing."""
    return text(value) and line(value)


def absolute_path(value: Any) -> str:
    """An absolute path, or nothing."""
    checked = text(value)
    if checked and (not checked.startswith("/") or not checked.isprintable()):
        raise Wrong(f"{shown(checked)} is not an absolute path", "begin it with /")
    return checked


def authenticator(value: Any) -> str:
    checked = text(value)
    if checked in AUTHENTICATORS or _CLASS.fullmatch(checked):
        return checked
    hint = f'one of {", ".join(AUTHENTICATORS)}, or a class as "package.module:Class"'
    module, dot, name = checked.rpartition(".")
    if dot and _CLASS.fullmatch(f"{module}:{name}"):
        hint = f'did you mean "{module}:{name}"?'
    raise Wrong(f"{shown(checked)} is not an authenticator", hint)


def python_version(value: Any) -> str:
    checked = text(value).strip()
    if not checked or not all(_CLAUSE.fullmatch(clause.strip()) for clause in checked.split(",")):
        hint = 'such as ">=3.10", "==3.12.*" or ">=3.10,<3.14"'
        if re.fullmatch(r"3\.\d+", checked, re.ASCII):
            hint = f'did you mean "=={checked}.*"?'
        raise Wrong(f"{shown(checked)} does not say which Python", hint)
    return checked


def module(value: Any) -> str:
    checked = text(value)
    if not _MODULE.fullmatch(checked):
        raise Wrong(f"{shown(checked)} is not a module's name", 'such as "numpy" or "matplotlib.pyplot"')
    return checked


def variable_of_environment(value: Any) -> str:
    """As `variable`, and LD_LIBRARY_PATH, which no server has: only kernels are loaded with it."""
    return text(value) if value == LIBRARY_PATH else variable(value)


def library_path(value: str) -> str:
    """Folders with libraries, separated by colons. That root alone can write them is seen when they are looked at."""
    for folder in value.split(":"):
        if not folder.startswith("/") or not folder.isprintable() or ".." in folder.split("/"):
            raise Wrong(f"{shown(folder)} in {LIBRARY_PATH} is not an absolute path", 'such as "/usr/local/cuda/lib64"')
    return value


def variable(value: Any) -> str:
    checked = text(value)
    if not _VARIABLE.fullmatch(checked):
        raise Wrong(f"{shown(checked)} is not a variable's name", "use letters, digits and _, no digit first")
    if _OWN_VARIABLES.fullmatch(checked):
        hint = "choose another variable"
        if checked == LIBRARY_PATH:
            hint = "libraries are an environment's: [envs.NAME] variables = { LD_LIBRARY_PATH = ... }"
        raise Wrong(f"{checked} is decided by manylab for every server", hint)
    return checked
