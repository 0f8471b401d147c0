"""JupyterHub, which beside its own work watches the proxy, who is a member, and servers that nobody knows any more,
says who opens whose server, keeps what people send it small, and packs what it sends them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.auth import OAuthAuthorizeHandler
from jupyterhub.apihandlers.users import UserServerAPIHandler, UserTokenListAPIHandler
from jupyterhub.app import JupyterHub
from jupyterhub.handlers.pages import AdminHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.utils import url_path_join

from manylab.base import packed
from manylab.hub import (
    admin_page,
    bodies,
    clients,
    database,
    endings,
    moved_addresses,
    settings,
    waiting,
)  # fmt: skip
from manylab.hub.doors import Doors
from manylab.hub.forgotten import ForgottenServers
from manylab.hub.members import MembersWatch
from manylab.hub.proxy import SocketProxy
from manylab.hub.tokens import FewTokensHandler

COLLECT_EVERY = 600.0  # seconds
# In the hub's own folder, which is its working directory.
BASE_URLS = "base_urls.json"


class SayingAuthorizeHandler(OAuthAuthorizeHandler):  # type: ignore[misc]
    """Where JupyterHub decides whether somebody may enter a server; it says so when it is not their own."""

    async def get(self) -> None:
        client_id = self.get_argument("client_id", "")
        own = self.current_user.spawners.values() if self.current_user else ()
        spawner = next((one for one in own if one.oauth_client_id == client_id), None)
        if spawner is not None and spawner.moved and not spawner.old_url:
            page = url_path_join(self.hub.base_url, "user", self.current_user.escaped_name, spawner.name, "/")
            await moved_addresses.show_page(self, spawner, page)
        else:
            await super().get()

    def send_oauth_response(self, headers: Any, body: Any, status: Any) -> None:
        user = self.current_user
        client_id = self.get_argument("client_id", "")
        client = self.oauth_provider.fetch_by_client_id(client_id) if client_id else None
        spawner = getattr(client, "spawner", None)
        if user is not None and spawner is not None and spawner.user.name != user.name:
            self.log.info("admin %s opens %s's server %s", user.name, spawner.user.name, spawner.name or "(default)")
        super().send_oauth_response(headers, body, status)


# JupyterHub's class -> what stands in its place
IN_PLACE_OF = {
    OAuthAuthorizeHandler: SayingAuthorizeHandler,
    UserTokenListAPIHandler: FewTokensHandler,
    AdminHandler: admin_page.MembersPage,
    UserServerAPIHandler: endings.NotingServerHandler,
    **dict(moved_addresses.HANDLERS),
}


async def collect_now_and_then() -> None:
    """Never returns. With the thresholds that the hub has (`start`), what servers that ended leave in circles, 2 kB
    for each, would stay for weeks. It takes a tenth of a second after some thousand starts.
    """
    while True:
        await asyncio.sleep(COLLECT_EVERY)
        gc.collect()


class ManylabHub(JupyterHub):  # type: ignore[misc]
    """Reads the same configuration sections as JupyterHub, whose class it extends."""

    _tasks: tuple[asyncio.Task[None], ...] = ()
    _http_server: Any = None
    moved = moved_addresses.Moved("/")
    handlers: list[tuple[Any, ...]]

    # JupyterHub makes its server in the middle of `start` and listens at once; this is where it can be had before.
    @property
    def http_server(self) -> Any:
        return self._http_server

    @http_server.setter
    def http_server(self, server: Any) -> None:
        site = settings.read(Path(os.environ["MANYLAB_HUB_JSON"]))
        # The proxy is whoever owns the folder of its socket, which is made for it alone.
        proxy = site.layout["proxy_api_socket"].parent.stat().st_uid
        self._http_server = Doors({0, os.geteuid(), proxy}).guard(server)
        known = bodies.known_to(self.hub.cookie_name, self.cookie_secret, self._is_token)
        bodies.guard(self._http_server, known)
        moved_addresses.guard(self._http_server, self.moved)

    def _is_token(self, token: str) -> bool:
        return orm.APIToken.find(self.db, token) is not None

    def init_db(self) -> None:
        database.keep_a_log()
        database.fetch_what_is_missing()
        super().init_db()
        database.ask_no_file(self.db.get_bind())
        database.keep_room(self.db)

    def init_logging(self) -> None:
        super().init_logging()
        # traitlets lets every record through to the handlers, which drop what is below the log level: for each person
        # who signs in, 50 that nobody reads.
        quietest = min((handler.level for handler in self.log.handlers), default=0)
        for name in (self.log.name, "tornado", "oauthlib"):
            logging.getLogger(name).setLevel(max(self.log.level, quietest))

    def init_oauth(self) -> None:
        clients.hash_generated_once()
        waiting.trust_nobody()
        super().init_oauth()

    def init_handlers(self) -> None:
        self.moved = moved_addresses.remember(Path(BASE_URLS), self.base_url)
        super().init_handlers()
        endings.tell()
        packed.use(CacheControlStaticFilesHandler, (f"{sys.prefix}/share/jupyterhub",))
        self.handlers = [
            (handler[0], IN_PLACE_OF.get(handler[1], handler[1]), *handler[2:]) for handler in self.handlers
        ]

    def init_tornado_application(self) -> None:
        super().init_tornado_application()
        if self.subdomain_host:
            moved_addresses.only_at(self.tornado_application, self.subdomain_host, self.hub_prefix)

    async def start(self) -> None:
        proxy = self.proxy
        if isinstance(proxy, SocketProxy) and not proxy.should_start:
            await proxy.wait_until_up()
        await super().start()
        # The umask keeps everything else the hub makes to itself; its socket has its mode from hub_socket_mode.
        tasks = []
        if isinstance(proxy, SocketProxy):
            tasks.append(asyncio.create_task(proxy.watch()))
        site = settings.read(Path(os.environ["MANYLAB_HUB_JSON"]))
        watch = MembersWatch(self, self.authenticator.members, site.members_check)
        tasks.append(asyncio.create_task(watch.watch()))
        forgotten = ForgottenServers(self, str(site.layout["warden_socket"]))
        tasks.append(asyncio.create_task(forgotten.watch()))
        tasks.append(asyncio.create_task(collect_now_and_then()))
        self._tasks = tuple(tasks)
        # The collector takes a seventh of the hub's CPU when many come at once, nearly all of it for looking at modules
        # and tables that are there for good.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def cleanup(self) -> None:
        for task in self._tasks:
            task.cancel()
        await super().cleanup()
