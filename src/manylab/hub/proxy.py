"""The hub's side of configurable-http-proxy: it notices at once when the proxy was started anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from jupyterhub.proxy import ConfigurableHTTPProxy

from manylab.hub import urls

# Seconds within which a restarted proxy has its routes back; a look is one stat() of one file.
LOOK_EVERY = 0.5


class SocketProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """The proxy, reached by its API's unix socket. It is started by systemd or the supervisor, never by the hub."""

    _seen: tuple[int, int] | None = None

    async def add_route(self, routespec: str, target: str, data: Mapping[str, Any]) -> None:
        # Servers of other spawners (scale) may bring JupyterHub's ":80" with them.
        await super().add_route(routespec, urls.without_port(target), data)

    async def get_all_routes(self) -> dict[str, Any]:
        """As JupyterHub's own, without when the proxy last saw something on its way: a tab that is left open asks for
        news all the time, and only the server knows a question from use (`lab.activity`).
        """
        routes: dict[str, Any] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes

    async def delete_user(self, user: Any, server_name: str = "") -> None:
        # JupyterHub deletes the route that the server would have if it were started now.
        await self.delete_route(user.spawners[server_name].proxy_spec)

    def identity(self) -> tuple[int, int] | None:
        """What tells one start of the proxy from the next: a new proxy makes a new socket. None: there is no socket."""
        path = urls.socket_path(self.api_url)
        if path is None:
            return None
        try:
            status = os.stat(path)  # noqa: PTH116 (called twice a second: no Path object needed)
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    async def wait_until_up(self, timeout: float = 60.0) -> None:
        """Returns when the proxy answers; raises its last error after `timeout` seconds.

        Without this, a hub that is started a moment before the proxy would give up.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            seen = self.identity()
            try:
                await self.get_all_routes()
            except Exception as error:
                if loop.time() > end:
                    raise
                self.log.info("Waiting for the proxy at %s: %s", self.api_url, error)
                await asyncio.sleep(LOOK_EVERY)
            else:
                self._seen = seen
                return

    async def watch(self) -> None:
        """Gives a restarted proxy its routes back; never returns."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = self.identity()
            if now is None or now == self._seen:
                continue
            try:
                await self.check_routes(self.app.users, self.app._service_map)
            except Exception as error:
                self.log.warning("The proxy was restarted and does not answer yet: %s", error)
            else:
                self.log.info("The proxy was restarted; it has its routes again")
                self._seen = now
