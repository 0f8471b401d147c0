"""Which service manager a site is installed with."""

from __future__ import annotations

from manylab.base.layout import Layout
from manylab.system.services.base import ServiceManager


def manager_for(service: str, layout: Layout) -> ServiceManager | None:
    """The manager of that kind; None for a site that is not installed as a service."""
    return None
