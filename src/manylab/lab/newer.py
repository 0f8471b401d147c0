"""Tells people in their Lab that there is a newer one: theirs was started before the server environment changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jupyterlab.handlers.announcements import CheckForUpdateABC

from manylab.lab import languages, sentences


class NewerServer(CheckForUpdateABC):  # type: ignore[misc,unused-ignore]
    """Where JupyterLab would ask the public package index for a newer one: what would start here if one started now.

    The Lab asks when a page is opened, and shows what is said as a notification, once.
    """

    async def __call__(self) -> tuple[str, tuple[str, str]] | None:  # type: ignore[override,unused-ignore]
        """None where this server is what a new one would be; else what to say, and a link with its label."""
        newer = newer_than(Path(sys.prefix))
        if newer is None:
            return None
        # The name of the generation makes it another notification each time: what was dismissed stays dismissed.
        said, label = sentences.newer_server(newer, languages.of_sentences())
        # With http.subdomains the hub has a host of its own.
        host, base = os.environ.get("JUPYTERHUB_HOST", ""), os.environ.get("JUPYTERHUB_BASE_URL", "/")
        return said, (label, f"{host}{base}hub/home")


def newer_than(prefix: Path) -> str | None:
    """The generation that new servers are started from, None where it is this one.

    prefix: .../envs/server/GENERATION.
    """
    current = prefix.parent / "current"
    try:
        target = current.resolve(strict=True)
    except OSError:
        return None
    return target.name if target.parent == prefix.parent.resolve() and target != prefix.resolve() else None
