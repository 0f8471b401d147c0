"""The hub's memory: what ended servers leave in circles does not stay."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

pytest.importorskip("jupyterhub")

from manylab.hub import app


class Circle:
    """Refers to itself, so that only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_refers_to_itself_is_collected_although_the_collector_seldom_looks(monkeypatch):
    monkeypatch.setattr(app, "COLLECT_EVERY", 0.01)
    gc.disable()
    try:
        circle = weakref.ref(Circle())

        async def look() -> None:
            task = asyncio.create_task(app.collect_now_and_then())
            assert circle() is not None
            async with asyncio.timeout(20):
                while circle() is not None:
                    await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(look())
    finally:
        gc.enable()
