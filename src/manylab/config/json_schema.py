"""manylab.toml as JSON Schema, for editors and for checks elsewhere. Pure."""

from __future__ import annotations

from typing import Any

from manylab.config.schema import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of the file: types, defaults, descriptions. `parse` knows more (what does not fit together)."""
    schema = Config.model_json_schema()
    return {"$schema": DIALECT, **schema, "title": "manylab.toml"}
