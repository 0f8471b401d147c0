"""What holds for all environments together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from manylab.config.kinds import Kind
from manylab.config.table import Table, setting


class Env(Table):
    """All environments together."""

    zh = "所有环境：保留多少个旧版本"

    keep: Annotated[int, Kind("a whole number, 1 to 1000"), Field(ge=1, le=1000)] = setting(
        3,
        doc="How many generations of each environment stay, to go back to; older ones go when nobody uses them. What "
        "`rollback` without a number needs stays as well.",
        example=10,
    )
