"""One JSON object a line over a unix socket, with descriptors beside it (SCM_RIGHTS)."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

LIMIT: Final = 256 * 1024  # bytes in one line: an environment, and what goes with it
_CHUNK: Final = 64 * 1024
# A server says READY, a line of its own, on the descriptor that this variable names, once one can connect to it.
READY: Final = "ready"
READY_VARIABLE: Final = "MANYLAB_READY_FD"
# In the environment of a server and of all that it starts: by this the warden finds them, wherever they went.
SERVER_VARIABLE: Final = "MANYLAB_SERVER_ID"
ORDER: Final = 30.0  # seconds for a server's order: the warden writes down who this is before it says what to do


class Broken(Exception):
    """The other end did not keep to the conversation: closed, too slow, too much, or not JSON. Never quotes it."""


class Peer(NamedTuple):
    """Who connected, as the kernel saw it at that moment."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """SO_PEERCRED of unix(7)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    return Peer(*struct.unpack("iII", raw))


class Conversation:
    """Lines in both directions over a connected socket; blocking, with a limit of time for each."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def send(self, data: dict[str, Any], descriptors: Sequence[int] = (), *, seconds: float = 5.0) -> None:
        """One line. Raises OSError (BrokenPipeError when nobody is there, TimeoutError)."""
        line = json.dumps(data).encode() + b"\n"
        self.connection.settimeout(seconds)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self.connection.sendmsg([line], rights)
        if sent < len(line):
            # To send nothing is an error, too, to one who has answered and gone in the meantime.
            self.connection.sendall(line[sent:])

    def receive(
        self, *, limit: int = LIMIT, seconds: float = 5.0, descriptors: int = 0
    ) -> tuple[dict[str, Any], list[int]]:
        """The next line and the descriptors that came with it, at most `descriptors`; others are closed.

        Raises Broken. The descriptors are close-on-exec.
        """
        end = time.monotonic() + seconds
        line, given = self._rest, list[int]()
        try:
            while b"\n" not in line:
                if len(line) > limit:
                    raise Broken(f"a line of more than {limit} bytes")
                if (left := end - time.monotonic()) <= 0:
                    raise Broken(f"no whole line within {seconds:g} s")
                self.connection.settimeout(left)
                data, came = _receive(self.connection)
                given += came
                if not data:
                    raise Broken("closed")
                line += data
            line, _, self._rest = line.partition(b"\n")
            said = json.loads(line)
            if not isinstance(said, dict) or len(given) > descriptors:
                raise Broken("not what was agreed")
        except (OSError, ValueError, RecursionError) as error:
            _close(given)
            raise Broken(type(error).__name__) from None
        except Broken:
            _close(given)
            raise
        return said, given


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(8 * array.array("i").itemsize)
    data, rights, _, _ = connection.recvmsg(_CHUNK, room, socket.MSG_CMSG_CLOEXEC)
    given = array.array("i")
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            given.frombytes(payload[: len(payload) - len(payload) % given.itemsize])
    return data, list(given)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
