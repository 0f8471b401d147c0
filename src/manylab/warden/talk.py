"""The warden's end of a start: a connection to the process that is to become a server, without holding up the loop."""

from __future__ import annotations

import array
import asyncio
import json
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

_LIMIT: Final = 16 * 1024  # bytes of what a start may say


class Silent(Exception):
    """The other end is gone, says too much, or nothing in time."""


class Talk:
    """Lines in both directions, of at most `limit` bytes.

    What comes after `became` is a person's own process: believed for wire.READY alone.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.limit = _LIMIT
        self._connection = connection
        self._rest = b""

    def close(self) -> None:
        self._connection.close()

    async def send(self, data: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """One line of JSON, with descriptors beside it. Raises Silent."""
        line = json.dumps(data).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sent = self._connection.sendmsg([line], rights)
            if sent < len(line):
                await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self._connection, line[sent:]), 5.0)
        except (OSError, asyncio.TimeoutError, TimeoutError) as error:
            raise Silent(type(error).__name__) from None

    async def line(self, seconds: float) -> str:
        """The next line, without its end. Raises Silent."""
        end = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        while b"\n" not in self._rest:
            if len(self._rest) > self.limit:
                raise Silent("too much")
            try:
                left = end - time.monotonic()
                data = await asyncio.wait_for(loop.sock_recv(self._connection, _LIMIT), max(0.0, left))
            except (OSError, asyncio.TimeoutError, TimeoutError) as error:
                raise Silent(type(error).__name__) from None
            if not data:
                raise Silent("closed")
            self._rest += data
        found, _, self._rest = self._rest.partition(b"\n")
        return found.decode(errors="replace")

    async def object(self, seconds: float) -> dict[str, Any]:
        """The next line as an object. Raises Silent."""
        try:
            found = json.loads(await self.line(seconds))
        except (ValueError, RecursionError):
            raise Silent("not JSON") from None
        if not isinstance(found, dict):
            raise Silent("not an object")
        return found

    def rest(self) -> str:
        """What was said and is not a line yet."""
        return self._rest.decode(errors="replace")
