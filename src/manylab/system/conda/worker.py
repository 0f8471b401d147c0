"""The process that reads what channels send: solves, downloads, looks into archives, links. One job, then it ends.

Started by `backend` with the job in a JSON file; progress goes to standard error, one line each, and the answer into
the file that the job names.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from manylab.base.errors import DiskFull, DownloadFailed, EnvironmentFailed
from manylab.model.conda_lock import without_credentials
from manylab.system.conda import download, link, solving

JOBS: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
    "solve": solving.run,
    "download": download.run,
    "link": link.run,
}
KINDS = {kind.__name__: kind for kind in (EnvironmentFailed, DownloadFailed, DiskFull)}


def main() -> None:
    """Do the job in the file that is named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        answer = {"done": asyncio.run(_one(job))}
    except tuple(KINDS.values()) as error:
        answer = {
            "failed": type(error).__name__,
            "message": without_credentials(error.message),
            "hint": error.hint,
        }
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    # rattler's threads may still be about when Python takes itself apart, and then it aborts.
    os._exit(0)


async def _one(job: dict[str, Any]) -> Any:
    return await JOBS[job["do"]](job)
