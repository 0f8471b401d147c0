"""What strangers send to a person's server is small: tornado keeps the whole body of a request in memory, half a
gigabyte of it, before anybody asks who sent it, and the person's kernels would be ended for that.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tornado.httputil import parse_cookie
from tornado.web import decode_signed_value

from manylab.base.headers import has_body, may_exceed

# Bytes that anybody may send. Whoever is signed in may send what the server's own limit says.
STRANGERS = 64 * 1024
_TOKEN = re.compile(r"(?:token|bearer)\s+(\S+)", re.IGNORECASE)

Known = Callable[[Mapping[str, str]], Awaitable[bool]]


def guard(server: Any, known: Known) -> None:
    """Have tornado's HTTPServer ask who sends a large body before it is read. known: whether by these headers."""
    usual = server.start_request

    def start_request(server_connection: Any, connection: Any) -> Any:
        delegate = usual(server_connection, connection)
        received = delegate.headers_received

        async def headers_received(start: Any, headers: Mapping[str, str]) -> None:
            if may_exceed(headers, STRANGERS) and not await known(headers):
                connection.set_max_body_size(STRANGERS)
            if (more := received(start, headers)) is not None:
                await more

        def headers_came(start: Any, headers: Mapping[str, str]) -> Any:
            # Nearly all requests have no body; nothing is added to those.
            return headers_received(start, headers) if has_body(headers) else received(start, headers)

        delegate.headers_received = headers_came
        return delegate

    server.start_request = start_request


def known_to(auth: Any, cookie_secret: bytes) -> Known:
    """Whether the hub says that the sender may use this server. auth: JupyterHub's HubOAuth."""

    async def known(headers: Mapping[str, str]) -> bool:
        for token in tokens(headers, auth.cookie_name, cookie_secret):
            with contextlib.suppress(Exception):  # as for a small request: then the answer is an error
                user = await auth.user_for_token(token, sync=False)
                if user and auth.check_scopes(auth.access_scopes, user):
                    return True
        return False

    return known


def tokens(headers: Mapping[str, str], cookie_name: str, cookie_secret: bytes) -> list[str]:
    """Tokens that a request brings, in a header or in a cookie that this server has signed. Pure."""
    found = []
    if match := _TOKEN.match(headers.get("Authorization", "")):
        found.append(match[1])
    value = parse_cookie(headers.get("Cookie", "")).get(cookie_name, "")
    # As RequestHandler.get_secure_cookie.
    if value and (signed := decode_signed_value(cookie_secret, cookie_name, value)) is not None:
        found.append(signed.decode(errors="replace"))
    return found
