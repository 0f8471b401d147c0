"""Listening sockets that take connections of one's own account only; standard library, on Linux.

A copy of this file is in each environment beside debugpy's own (see debugger.py) and runs in kernels and in debugpy's
adapter. TCP has no permissions and no SO_PEERCRED; whose the other end is, the machine's kernel says in its tables of
connections.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not /proc/net, which a /proc of processes alone has not.
_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
# Established, and two in which only the other end has said all that it had to say (FIN_WAIT).
_OPEN = ("01", "04", "05")
# A row can be missed while others come and go.
_LOOKS = 3
_HEARD = 10.0  # seconds


def guarded(create: Callable[..., socket.socket], say: Callable[..., object]) -> Callable[..., socket.socket]:
    """`create`, which makes a listening socket, so that this one accepts nobody else's connection.

    say: told of each refusal, as a text with {0} for the address it came from.
    """

    def create_server(*arguments: Any, **named: Any) -> socket.socket:
        plain = create(*arguments, **named)
        timeout = plain.gettimeout()
        server = OwnAccountOnly(plain.family, plain.type, plain.proto, fileno=plain.detach())
        server.settimeout(timeout)
        server.say = say
        return server

    return create_server


def heard(close: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
    """`close`, which hangs up, so that it first waits until the other end has: what was closed has no owner any more,
    and would be refused.
    """

    def close_socket(sock: socket.socket) -> None:
        try:
            sock.getpeername()
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(_HEARD)
            while sock.recv(4096):
                pass
        except OSError:
            pass
        close(sock)

    return close_socket


class OwnAccountOnly(socket.socket):
    """What comes from another account is closed, and the next is waited for."""

    say: Callable[..., object] | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        while True:
            connection, address = super().accept()
            if is_own(connection):
                return connection, address
            connection.close()
            if self.say is not None:
                self.say("Refused a connection of another account, from {0}.", address)


def is_own(connection: socket.socket) -> bool:
    """Whether the other end of an accepted connection is a socket of this process' account, on this machine.

    Root's is not: nothing of root's has any business here.
    """
    try:
        theirs, ours = _end(connection.getpeername()), _end(connection.getsockname())
        for _ in range(_LOOKS):
            if found := _uids(theirs, ours):
                return found == {os.geteuid()}
    except (OSError, ValueError, IndexError):  # it is gone already, or there is no table
        pass
    return False


def _uids(local: tuple[bytes, int], remote: tuple[bytes, int]) -> set[int]:
    """Whose open connections with these ends are."""
    found = set()
    for table in _TABLES:
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:  # a machine without IPv6
            continue
        for row in rows:
            parts = row.split()
            # What a process has closed has no inode, and is shown as root's.
            alive = parts[3] in _OPEN and parts[9] != "0"
            if alive and _parsed(parts[1]) == local and _parsed(parts[2]) == remote:
                found.add(int(parts[7]))
    return found


def _end(name: tuple[Any, ...]) -> tuple[bytes, int]:
    """Address and port of a socket's name; each address as IPv6 has it."""
    host, port = str(name[0]).partition("%")[0], int(name[1])
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host), port
    return _mapped(socket.inet_pton(socket.AF_INET, host)), port


def _parsed(text: str) -> tuple[bytes, int]:
    """The same of an end as the table has it: words of 32 bits in the byte order of the machine, and the port."""
    words, _, port = text.partition(":")
    address = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return address if len(address) == 16 else _mapped(address), int(port, 16)


def _mapped(address: bytes) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + address
