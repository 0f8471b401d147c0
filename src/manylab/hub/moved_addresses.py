"""What happens to addresses and running servers after http.base_url, http.subdomains or http.public_url was changed.

A server keeps the address that it was started with until it is restarted, so its route stays where it was
(`WardenSpawner.route`) and an open notebook goes on. Its requests to the hub are answered under the earlier base_url.
Every other page under an earlier base_url is redirected to the same page under the present one; at the new address of
such a server, its owner is asked whether to go on at the old one or to restart it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterhub.handlers.base import PrefixRedirectHandler, UserUrlHandler
from jupyterhub.utils import url_path_join
from tornado.httputil import url_concat
from tornado.web import HTTPError, RequestHandler, authenticated

from manylab.hub.endings import SayingUrlHandler

_MOST: Final = 20  # earlier addresses that are remembered
_SITE: Final = ("hub", "user", "services")  # what is below base_url
# The one page below the API, with the browser's cookies: it has to be asked for under the present base_url.
_AUTHORIZE: Final = "hub/api/oauth2/authorize"


@dataclass(frozen=True)
class Moved:
    """base_url: the present one. earlier: those before it. Each begins and ends with a slash."""

    base_url: str
    earlier: tuple[str, ...] = ()

    def below(self, uri: str) -> str | None:
        """What follows an earlier base_url in this path (with its query): "user/bob/lab"; None for any other path."""
        if _of_site(uri, self.base_url) is not None:
            return None
        longest_first = sorted(self.earlier, key=len, reverse=True)
        return next((rest for base in longest_first if (rest := _of_site(uri, base)) is not None), None)

    def request(self, path: str) -> str:
        """The path by which the hub answers this request: of the API, also under an earlier base_url."""
        rest = self.below(path)
        is_api = rest is not None and rest.startswith("hub/api/") and not rest.startswith(_AUTHORIZE)
        return f"{self.base_url}{rest}" if is_api else path


def _of_site(uri: str, base_url: str) -> str | None:
    """What follows base_url, if it is the site's root or one of the site's own pages."""
    path, mark, query = uri.partition("?")
    if path == base_url.rstrip("/"):
        path = base_url
    rest = path.removeprefix(base_url)
    # Nothing that begins with a slash: "//elsewhere.org" would be another site.
    if not path.startswith(base_url) or (rest and rest.split("/", 1)[0] not in _SITE):
        return None
    return rest + mark + query


def remember(file: Path, base_url: str) -> Moved:
    """The earlier addresses of this site; the present one is written down. file: in the hub's own folder."""
    try:
        known = [str(one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        known = []
    earlier = [one for one in known if one != base_url and one.startswith("/") and one.endswith("/")]
    wanted = [*earlier[-_MOST:], base_url]
    if known != wanted:
        with contextlib.suppress(OSError):  # a full disk
            file.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    return Moved(base_url, tuple(wanted[:-1]))


def guard(server: Any, moved: Moved) -> None:
    """Have tornado's HTTPServer answer requests of the API under an earlier base_url as if under the present one."""
    usual = server.start_request

    def start_request(server_connection: Any, connection: Any) -> Any:
        delegate = usual(server_connection, connection)
        received = delegate.headers_received

        def headers_received(start: Any, headers: Any) -> Any:
            return received(start._replace(path=moved.request(start.path)), headers)

        delegate.headers_received = headers_received
        return delegate

    if moved.earlier:
        server.start_request = start_request


async def show_page(handler: Any, spawner: Any, new: str, old: str = "") -> None:
    """The page on which the owner decides. new: its address there. old: "" where there is no way in any more."""
    own = spawner.user.name == handler.current_user.name
    known = {"user": spawner.user, "server": spawner.name, "own": own, "new_url": new, "old_url": old}
    handler.set_header("Cache-Control", "no-store")
    handler.finish(await handler.render_template("moved.html", **known))


class HubPageHandler(RequestHandler):  # type: ignore[misc]
    """A page of the hub at another name than the hub's own, where a person's server has the browser's trust: nobody
    signs in there.
    """

    def initialize(self, host: str) -> None:
        self.host = host

    def get(self) -> None:
        self.redirect(self.host + (self.request.uri or ""))


def only_at(application: Any, host: str, hub_prefix: str) -> None:
    """With subdomains: have pages of the hub seen at its own name only. host: scheme and name."""
    other_names = rf"(?!{re.escape(urlsplit(host).hostname or '')}$).*"
    pages = rf"{re.escape(hub_prefix)}(?!api/(?!oauth2/authorize)|static/|logo|health|error|metrics).*"
    application.add_handlers(other_names, [(pages, HubPageHandler, {"host": host})])


class MovedPageHandler(PrefixRedirectHandler):  # type: ignore[misc]
    """Every path outside base_url/hub/. One under an earlier base_url leads to the same page under the present one."""

    def get(self) -> None:
        rest = self.app.moved.below(self.request.uri)
        if rest is None:
            super().get()
            return
        host = self.settings.get("subdomain_host", "") if rest.startswith("hub/") else ""
        self.redirect(f"{host}{self.base_url}{rest}")


class MovedServerHandler(SayingUrlHandler):
    """A person's server at its new address, while it runs with the old one: its owner decides."""

    async def _redirect_to_user_server(self, user: Any, spawner: Any) -> None:
        if not spawner.moved:
            await super()._redirect_to_user_server(user, spawner)
            return
        # What follows user/NAME/ or user/NAME/SERVER/, however the names are escaped.
        skipped = 3 if spawner.name else 2
        page = "".join(self.request.uri.removeprefix(self.hub.base_url).split("/", skipped)[skipped:])
        old = spawner.old_url + page if spawner.old_url else ""
        if old and "text/html" not in self.request.headers.get("Accept", ""):
            self.redirect(old)
            return
        await show_page(self, spawner, self.request.uri, old)

    @authenticated  # type: ignore[untyped-decorator,unused-ignore]
    async def post(self, user_name: str, user_path: str) -> None:
        """The page's button."""
        name = self.get_body_argument("restart", None)
        if name is None:
            self.non_get(user_name, user_path)
            return
        user = self.current_user
        if user_name != user.name or name not in user.spawners:
            raise HTTPError(404, "There is no such server of yours.")
        # A token of this person's may be for less than that.
        if not self.has_scope(f"delete:servers!server={user.name}/{name}"):
            raise HTTPError(403, "This token may not stop servers.")
        spawner = user.spawners[name]
        if spawner.ready and spawner.moved:
            await self.stop_single_user(user, name)
            while spawner.pending == "stop":
                await asyncio.sleep(0.2)
        spawn = url_path_join(self.hub.base_url, "spawn", user.escaped_name, name)
        self.redirect(url_concat(spawn, {"next": self.request.uri}), status=303)


HANDLERS: Final[Sequence[tuple[type, type]]] = (
    (PrefixRedirectHandler, MovedPageHandler),
    (UserUrlHandler, MovedServerHandler),
)
