"""Web applications that a person sees through their server (jupyter-server-proxy): they are the person's own, and get
nothing that opens the server.

As it comes the extension forwards each request whole, the cookie with the person's token in it, to whoever listens on
the port of the link. A port is open to every account of a machine; and what another account answers there would be a
page of the person's own server, which may do in it all that the person may.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError

from manylab.lab import languages, ports, sentences

# JupyterHub's: of the server (its OAuth client's name), of the sign-in on its way there, of the session.
_COOKIE: Final = re.compile(r"(?:__Host-|__Secure-)?jupyterhub-")
_SHORTEST: Final = 8  # characters of a token: JupyterHub takes none that is shorter
_POLICY: Final = 1008  # RFC 6455, 7.4.1: how a websocket is closed that nobody may have


def guard() -> None:
    """Call when a server is built: where jupyter-server-proxy is loaded, it forwards to the person's own alone."""
    handlers: Any = sys.modules.get("jupyter_server_proxy.handlers")
    if handlers is None or getattr(handlers.ProxyHandler.proxy, "of_manylab", False):
        return
    handler = handlers.ProxyHandler
    show, where = handler.proxy, handler.get_client_uri

    async def proxy(self: Any, host: str, port: str | int, proxied_path: str) -> Any:
        if self.unix_socket is None and self._check_host_allowlist(host):
            try:
                await check(host, port, self.request.headers)
            except OSError as error:  # as the extension says it of a port where nobody listens
                raise HTTPError(500, str(error)) from None
        return await show(self, host, port, proxied_path)

    def proxy_request_headers(self: Any) -> HTTPHeaders:
        headers = without(self.request.headers, secrets(self))
        # What the application is configured to get, it gets.
        headers.update(self.get_request_headers_override())
        return headers

    def get_client_uri(self: Any, protocol: str, host: str, port: str | int, proxied_path: str) -> str:
        uri: str = where(self, protocol, host, port, proxied_path)
        if not (query := self.request.query) or not uri.endswith(f"?{query}"):
            return uri
        kept = query_without(query, secrets(self))
        return uri[: -len(query) - 1] + (f"?{kept}" if kept else "")

    proxy.of_manylab = True  # type: ignore[attr-defined]
    handler.proxy, handler.get_client_uri = proxy, get_client_uri
    handler.proxy_request_headers, handler.proxy_open = proxy_request_headers, _opened(handler.proxy_open)
    raw: Any = sys.modules.get("jupyter_server_proxy.rawsocket")
    if raw is not None:  # it connects for itself
        raw.RawSocketHandler.proxy_open = _opened(raw.RawSocketHandler.proxy_open)


async def check(host: str, port: str | int, headers: Mapping[str, str] | None = None) -> None:
    """Whether a connection goes to a program of this person's or of root's, who could have all of theirs anyway.

    Raises HTTPError 403 where it would go to another account's, and OSError where nobody listens: to try all the same
    would be to let in whoever comes to listen in that moment, so that a port which a firewall's rule leads elsewhere is
    not shown either. A host that is not this machine is the person's affair.
    """
    if not 0 < (number := int(port)) < 1 << 16:  # getaddrinfo may take the rest of a division
        raise ConnectionRefusedError("there is no such port")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    here = [where for family, _, _, _, where in found if ports.of_this_machine(family, where)]
    if not here:
        return
    on_port = ports.listeners(number)
    reached = [one for where in here for one in ports.reaching(on_port, ports.address_of(where))]
    if any(one.uid not in (0, os.geteuid()) for one in reached):
        raise HTTPError(403, sentences.others_port(number, languages.of_sentences(headers)))
    if not reached and len(here) == len(found):
        raise ConnectionRefusedError(f"nothing listens on port {number}")


def secrets(handler: Any) -> set[str]:
    """What of this request or of this server opens the server, or the hub.

    An application's own tokens are not in it: a token counts when the hub knows it.
    """
    cookies = _cookies(handler.request.headers)
    auth = getattr(handler.identity_provider, "hub_auth", None)
    # An application that uses tornado has a cookie of that name, too.
    found = {value for name, value in cookies if name == "_xsrf" and _of_jupyterhub(value)}
    if auth is not None:
        found.update({auth.api_token, auth._get_token_cookie(handler)})
        found.update(value for name, value in cookies if name == auth.cookie_name)
        given = auth.auth_header_pat.findall(handler.request.headers.get("Authorization", ""))
        given += handler.get_query_arguments("token")
        # The hub is asked about one of them.
        if getattr(handler, "_token_authenticated", False) or len(given) > 1:
            found.update(given)
    return {secret for secret in found if secret and len(secret) >= _SHORTEST}


def without(headers: HTTPHeaders, hidden: Collection[str]) -> HTTPHeaders:
    """The headers of a request, less cookies of JupyterHub's and all that has one of `hidden` in it. Pure."""
    kept = HTTPHeaders()
    for name, value in headers.get_all():
        if name.lower() == "cookie":
            each = [cookie.strip() for cookie in value.split(";")]
            own = [cookie for cookie in each if not _COOKIE.match(cookie) and not _holds(cookie, hidden)]
            if own:
                kept.add(name, "; ".join(own))
        elif not _holds(value, hidden):
            kept.add(name, value)
    return kept


def query_without(query: str, hidden: Collection[str]) -> str:
    """The query of an address, less what has one of `hidden` in it. Pure."""
    return "&".join(part for part in query.split("&") if not _holds(part, hidden))


def _cookies(headers: HTTPHeaders) -> list[tuple[str, str]]:
    """All of them, also where two have one name, as those of two paths may."""
    each = [cookie.partition("=") for value in headers.get_list("Cookie") for cookie in value.split(";")]
    return [(name.strip(), value.strip().strip('"')) for name, _, value in each]


def _holds(text: str, hidden: Collection[str]) -> bool:
    return any(secret in text or secret in unquote_plus(text) for secret in hidden)


def _of_jupyterhub(xsrf: str) -> bool:
    """Whether it is signed as jupyterhub._xsrf_utils does, by whom does not matter: a person's second server is also
    sent that of the first.
    """
    try:
        signed = base64.urlsafe_b64decode(xsrf.encode("ascii") + b"=" * (-len(xsrf) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return False
    return b"|5:_xsrf|" in signed


def _opened(usual: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """In the place of a handler's proxy_open: a websocket to what is not the person's is closed."""

    async def proxy_open(self: Any, host: str, port: str | int, proxied_path: str = "") -> None:
        if self.unix_socket is None and self._check_host_allowlist(host):
            try:
                await check(host, port)
            except HTTPError as refusal:
                self.log.warning("%s", refusal.log_message)
                self.close(_POLICY, f"port {int(port)} is another account's")
                return
        await usual(self, host, port, proxied_path)

    return proxy_open
