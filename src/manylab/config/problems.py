"""What is wrong with a configuration, in words: pydantic's errors become sentences with a way out. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from manylab.base.errors import ConfigError
from manylab.config import jupyterhub_names, walk
from manylab.config.values import Wrong, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from manylab.config.walk import Path

# What people will try, since DESIGN.md names it, before it is there.
_LATER = {
    ("backend", "conda"): "conda comes in a later version; use uv",
    ("start", "slurm"): "Slurm comes in a later version; use warm or cold",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. line counts from 1; key is "" when the text itself cannot be read."""

    line: int
    key: str
    message: str
    hint: str = ""

    def text(self, source: str) -> str:
        key = f"{self.key}: " if self.key else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{source}:{self.line}: {key}{self.message}{hint}"


def refusal(problems: list[Problem], source: str) -> ConfigError:
    """The one error that lists them all, in the order of the file."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.key, problem.message))
    message = "\n".join(problem.text(source) for problem in ordered)
    places = "this place" if len(ordered) == 1 else f"these {len(ordered)} places"
    hint = f"correct {places}; nothing was changed"
    return ConfigError(message, hint=hint, source=source, problems=[asdict(problem) for problem in ordered])


def explain(error: ErrorDetails) -> tuple[Path, str, str]:
    """(path, message, hint) of one of pydantic's errors."""
    # pydantic marks an error in the name of a key by "[key]" behind it.
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    value = error["input"]
    kind = error["type"]
    cause = error.get("ctx", {}).get("error")
    declared = walk.find(path)
    if isinstance(cause, Wrong):
        return path, cause.message, cause.hint
    if kind == "extra_forbidden":
        return path, "unknown setting" if len(path) > 1 else "unknown table or setting", suggestion(path)
    if kind == "literal_error":
        accepted = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return path, f"{shown(value)} is not accepted", _choice(path, value, accepted)
    if kind in ("model_type", "dict_type", "mapping_type"):
        return path, f"expected a table, got {shown(value)}", f"write [{walk.dotted(path)}] on a line of its own"
    words = declared.words if declared else error["msg"]
    if kind in ("greater_than_equal", "less_than_equal"):
        return path, f"{shown(value)} is out of range", f"expected {words}"
    return path, f"expected {words}, got {shown(value)}", _unquoted(value)


def _unquoted(value: Any) -> str:
    if isinstance(value, str):
        if re.fullmatch(r"\d+|true|false", value):
            return f"write {value} without quotes"
        if value.lower() in ("yes", "on", "no", "off", "true", "false"):
            return "write " + ("true" if value.lower() in ("yes", "on", "true") else "false")
    return ""


def _choice(path: Path, value: Any, accepted: list[str]) -> str:
    if later := _LATER.get((str(path[-1]), str(value))):
        return later
    by_lower = {choice.lower(): choice for choice in accepted}
    close = difflib.get_close_matches(str(value).lower(), by_lower, 1)
    return f"did you mean {shown(by_lower[close[0]])}?" if close else "use " + " or ".join(map(shown, accepted))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The beginning of a hint for a name that is not known, "" where none is near: "did you mean 'default'? "."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]!r}? " if close else ""


def suggestion(path: Path) -> str:
    """What somebody may have meant by an unknown key: a name of another table, JupyterHub's name, or a misspelling."""
    *outer, last = (str(part) for part in path)
    table = walk.general(tuple(outer))
    known = walk.tables()
    here = known.get(table, ())
    elsewhere = {key: other for other in reversed(tuple(known)) if other != table for key in known[other]}
    if last in elsewhere:
        return f"did you mean {walk.dotted((*elsewhere[last], last))}?"
    if renamed := jupyterhub_names.setting_for(last):
        return f"did you mean {renamed}?"
    if close := difflib.get_close_matches(last, here, 1, 0.6):
        return f"did you mean {walk.dotted((*outer, close[0]))}?"
    if close := difflib.get_close_matches(last, elsewhere, 1, 0.75):
        return f"did you mean {walk.dotted((*elsewhere[close[0]], close[0]))}?"
    return "known here: " + ", ".join(here)
