"""The hub's socket is open to every account of the machine, as people's servers report to it: nobody may fill it up.

Who is at the other end comes from the kernel (SO_PEERCRED). The proxy, root and the hub itself connect as often as they
like; every other account has a number of connections at a time, and one more is closed at once.
"""

from __future__ import annotations

import copy
import logging
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

from manylab.warm import subuid, wire

log = logging.getLogger("manylab.hub")

# A server has one or two connections now and then; a person with dozens of named servers has room.
MOST: Final = 64
# Seconds for a request to begin and for all of it to arrive. Tornado's own is an hour, and no limit.
PATIENCE: Final = 60.0
# Connections that wait to be looked at. When they are too many the next one fails at once (a unix socket never waits),
# and the proxy says "503"; JupyterHub asks for 128, which a class that arrives in the same second exceeds.
BACKLOG: Final = 4096
# Bytes in the body of a request, which is kept in memory before anybody asks who sent it; tornado's own is 100 MB.
# Forms, and the API's lists of names, are small. Strangers have less (bodies.py).
BODY: Final = 256 * 1024
_SAY_EVERY: Final = 60.0  # seconds between two lines of log about the same account


class Doors:
    """Counts connections. free: accounts without a limit."""

    def __init__(self, free: Collection[int], most: int = MOST, subordinates: Path = subuid.FILE) -> None:
        self._free = frozenset(free)
        self._most = most
        self._subordinates = subordinates
        self._open: Counter[int | str] = Counter()
        self._said: dict[int | str, float] = {}

    def guard(self, server: Any) -> Any:
        """Have tornado's HTTPServer ask here before it serves a connection."""
        serve, add_socket = server.handle_stream, server.add_socket

        def add(listening: socket.socket) -> None:
            listening.listen(BACKLOG)
            add_socket(listening)

        server.add_socket = add
        # A connection that is closed on the proxy at the wrong moment is a "503" for somebody, so only others have to
        # hurry.
        patient = server.conn_params
        patient.body_timeout = PATIENCE
        patient.max_body_size = BODY
        hurried = copy.copy(patient)
        hurried.header_timeout = PATIENCE

        def handle(stream: Any, address: Any) -> Any:
            uid = wire.peer_of(stream.socket).uid
            if uid in self._free:
                return serve(stream, address)
            account = owner(uid, subuid.lines(self._subordinates))
            if not self.enter(account):
                stream.close()
                return None
            close = stream.close_fd

            def close_fd() -> None:  # tornado calls it exactly once for each stream, however that ends
                self.leave(account)
                close()

            stream.close_fd = close_fd
            server.conn_params = hurried
            try:
                return serve(stream, address)
            finally:
                server.conn_params = patient

        server.handle_stream = handle
        return server

    def enter(self, account: int | str) -> bool:
        """Whether one more connection of this account may stay; call `leave` for each that did."""
        if self._open[account] >= self._most:
            now = time.monotonic()
            if now - self._said.get(account, -_SAY_EVERY) >= _SAY_EVERY:
                self._said[account] = now
                log.warning("account %s has %d connections to the hub open; more are closed", account, self._most)
            return False
        self._open[account] += 1
        return True

    def leave(self, account: int | str) -> None:
        """One connection of this account has ended."""
        self._open[account] -= 1
        if not self._open[account]:
            del self._open[account]


def owner(uid: int, subordinates: Iterable[str]) -> int | str:
    """Whose connections this account's count as. subordinates: the lines of /etc/subuid. Pure.

    With user namespaces one person can be 65536 uids more; together they are that one person.
    """
    name = subuid.owner(uid, subordinates)
    # A number in that file may be an account's name as well as its uid, so it is never taken for a uid here.
    return uid if name is None else f"subordinates of {name}"
