"""Ends idle servers: jupyterhub-idle-culler, run by the hub as its service, over the hub's unix socket.

Configured by environment: JUPYTERHUB_API_URL and JUPYTERHUB_API_TOKEN from the hub, MANYLAB_IDLE_TIMEOUT,
MANYLAB_IDLE_CHECK and MANYLAB_IDLE_FIRST (seconds) from settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jupyterhub_idle_culler import cull_idle
from tornado.netutil import Resolver

from manylab.hub import urls

# Never looked up: SocketResolver answers for every name.
HOST = "hub.invalid"


class SocketResolver(Resolver):  # type: ignore[misc]
    """Sends every connection of tornado's HTTP client to one unix socket."""

    @classmethod
    def configurable_base(cls) -> Any:
        return Resolver

    def initialize(self, path: str) -> None:
        self.path = path

    async def resolve(self, host: str, port: int, family: int = 0) -> list[tuple[int, Any]]:
        return [(socket.AF_UNIX, self.path)]


def plain_url(api_url: str) -> tuple[str, str | None]:
    """An address that tornado's client understands, and the socket it has to be sent to (None: it is no socket)."""
    path = urls.socket_path(api_url)
    return (api_url if path is None else f"http://{HOST}{urlsplit(api_url).path}"), path


async def run(environ: Mapping[str, str]) -> None:
    """Looks again and again until the hub that started it is gone. A look that fails is only logged."""
    log = logging.getLogger("manylab.culler")
    url, path = plain_url(environ["JUPYTERHUB_API_URL"])
    if path is not None:
        Resolver.configure(SocketResolver, path=path)
    timeout, every = int(environ["MANYLAB_IDLE_TIMEOUT"]), float(environ["MANYLAB_IDLE_CHECK"])
    hub = os.getppid()
    # While the hub was away, servers could not say that they were used: each has said it by then.
    await asyncio.sleep(float(environ.get("MANYLAB_IDLE_FIRST", "0")))
    # A hub that was killed could not end its service; the next hub starts one of its own.
    while os.getppid() == hub:
        try:
            await cull_idle(url, environ["JUPYTERHUB_API_TOKEN"], timeout, log)
        except Exception as error:
            log.warning("Could not look for idle servers: %s", error)
        await asyncio.sleep(every)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="[%(levelname).1s %(asctime)s culler] %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(run(os.environ))


if __name__ == "__main__":
    main()
