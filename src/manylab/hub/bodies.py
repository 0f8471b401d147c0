"""What strangers send to the hub is small and soon there: tornado keeps the body of a request in memory while it comes
in, before anybody asks who sent it, and thousands may be coming in that never end.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.httputil import parse_cookie
from tornado.web import decode_signed_value

from manylab.base.headers import has_body, may_exceed

log = logging.getLogger("manylab.hub")

# Bytes that anybody may send; a sign-in form has some hundred. Whoever is signed in may send `doors.BODY`.
STRANGERS: Final = 16 * 1024
HURRY: Final = 30.0  # seconds for that to arrive
# Bytes that are being read at one time: all that anybody may send, and again as much for people who are signed in.
TOGETHER: Final = 64 << 20
_SAY_EVERY: Final = 60.0  # seconds between two lines of log
_TOKEN: Final = re.compile(r"(?:token|bearer)\s+(\S+)$", re.IGNORECASE)

Known = Callable[[Mapping[str, str]], bool]


class Room:
    """Bodies that are being read. When they are too much together, the oldest is hung up on: an honest one is there in
    milliseconds, so those who wait on purpose lose theirs and nobody else is turned away.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._all = 0
        self._each: dict[Any, int] = {}  # the oldest first
        self._said = -_SAY_EVERY

    def take(self, connection: Any, size: int) -> None:
        """More of a body has come."""
        self._each[connection] = self._each.get(connection, 0) + size
        self._all += size
        while self._all > self._most:
            oldest = next(iter(self._each))
            self.leave(oldest)
            oldest.close()
            if (now := time.monotonic()) - self._said >= _SAY_EVERY:
                self._said = now
                log.warning("unfinished requests fill %d MB; the oldest ones are closed", self._most >> 20)

    def leave(self, connection: Any) -> None:
        """A body is complete, or will never be."""
        self._all -= self._each.pop(connection, 0)


def guard(server: Any, known: Known, most: int = TOGETHER) -> None:
    """Have tornado's HTTPServer look at bodies as they come. known: whether by these headers somebody is signed in."""
    usual = server.start_request
    anybodys, members = Room(most), Room(most)

    def start_request(server_connection: Any, connection: Any) -> Any:
        delegate = usual(server_connection, connection)
        received = delegate.headers_received

        def headers_received(start: Any, headers: Mapping[str, str]) -> Any:
            if has_body(headers):  # nothing is added to the others, which are nearly all
                if may_exceed(headers, STRANGERS) and known(headers):
                    watch(delegate, connection, members)
                else:
                    connection.set_max_body_size(STRANGERS)
                    connection.set_body_timeout(HURRY)
                    watch(delegate, connection, anybodys)
            return received(start, headers)

        delegate.headers_received = headers_received
        return delegate

    server.start_request = start_request


def watch(delegate: Any, connection: Any, room: Room) -> None:
    """Count the body of this request until it is complete or the connection ends."""
    received, finish, closed = delegate.data_received, delegate.finish, delegate.on_connection_close

    def data_received(data: bytes) -> Any:
        room.take(connection, len(data))
        return received(data)

    def finished() -> None:
        room.leave(connection)
        finish()

    def on_connection_close() -> None:
        room.leave(connection)
        closed()

    delegate.data_received, delegate.finish = data_received, finished
    delegate.on_connection_close = on_connection_close


def known_to(cookie_name: str, cookie_secret: bytes, is_token: Callable[[str], bool]) -> Known:
    """Whether a request brings the cookie of somebody who has signed in, or a token of the hub. Anybody can make
    headers up, so their being there says nothing.
    """

    def known(headers: Mapping[str, str]) -> bool:
        if (match := _TOKEN.match(headers.get("Authorization", ""))) and is_token(match[1]):
            return True
        value = parse_cookie(headers.get("Cookie", "")).get(cookie_name, "")
        return bool(value) and decode_signed_value(cookie_secret, cookie_name, value) is not None

    return known
