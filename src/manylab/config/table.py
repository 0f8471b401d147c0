"""What a declaration of settings is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Counts = Literal["at once", "kernel", "server", "address"]
# Since when a changed setting holds for what runs already: in words for people.
COUNTS: Final[Mapping[Counts, str]] = {
    "at once": "at once",
    "kernel": "from the next start of a kernel",
    "server": "from the next start of a server",
    "address": "at once; a running server keeps its old address until it is restarted",
}


def setting(
    default: Any,
    *,
    doc: str,
    example: Any = None,
    since: str = "0.1",
    secret: bool = False,
    counts: Counts = "at once",
) -> Any:
    """One setting: the default and example as they would be in the file; `secret` ones are not shown in full.

    counts: since when a change holds, once it is applied, for servers and kernels that run (COUNTS).
    """
    extra: dict[str, Any] = {"since": since, "counts": counts}
    if secret:
        extra["secret"] = True
    return Field(
        default=default,
        validate_default=True,
        description=doc,
        examples=None if example is None else [example],
        json_schema_extra=extra,
    )


def section(model: type[BaseModel]) -> Any:
    """A table of settings that all have their defaults when the table is not there."""
    return Field(default_factory=model, description=model.__doc__)


class Table(BaseModel):
    """What all tables have in common: nothing unknown, nothing guessed, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    # One line for readers of Chinese in the example file.
    zh: ClassVar[str] = ""
