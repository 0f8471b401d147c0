"""What the Lab shows of a person's memory: that of their control group, which holds all that is theirs, and its limit.

The extension itself adds up the server and its children, one by one. Warm kernels are nobody's children, and to read
the maps of every process takes longer each time than all else that an idle server does.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from manylab.lab import memory

# The Lab's warning, as a share of the limit.
_WARN = 0.9


def use() -> None:
    """Answer in the place of jupyter-resource-usage, where the server has a control group of its own."""
    try:
        # An extension, which a site may have left out.
        api: Any = importlib.import_module("jupyter_resource_usage.api")
    except ImportError:
        return
    if getattr(api.ApiHandler.get, "of_manylab", False):
        return
    usual = api.ApiHandler.get

    async def get(self: Any) -> None:
        found = answer(memory.meter())
        if found is None:
            await usual(self)
        elif self.current_user:
            self.finish(json.dumps(found))
        else:
            self.set_status(403)

    get.of_manylab = True  # type: ignore[attr-defined]
    api.ApiHandler.get = get


def answer(meter: memory.Meter) -> dict[str, Any] | None:
    """As the extension's own answer; None where nobody counts what is this person's alone. Bytes."""
    used = meter.working_set()
    if used is None:
        return None
    limit = meter.limit() or 0
    limits: dict[str, Any] = {"memory": {"rss": limit, "pss": limit}}
    if limit:
        limits["memory"]["warn"] = used > _WARN * limit
    return {"rss": used, "pss": used, "limits": limits}
