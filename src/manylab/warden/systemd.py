"""Asks systemd for scopes over its private socket, which only root can use: D-Bus without a bus.

One question on a connection of its own takes a millisecond or two; `systemd-run` and `busctl` are processes, and take
ten times that (docs/decisions/0012-scopes-over-the-private-socket.md). The little of D-Bus that is needed:
https://dbus.freedesktop.org/doc/dbus-specification.html, "Message Protocol".
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

SOCKET: Final = "/run/systemd/private"
_PATIENCE: Final = 20.0  # seconds for one question; a machine that starts sixty servers at once takes its time
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_NO_REPLY: Final = 1  # a flag
_MOST: Final = 1 << 20  # bytes of one message

# name, D-Bus type ("s", "t" 64-bit number, "au" list of numbers), value
Property = tuple[str, str, Any]


class Refused(OSError):
    """systemd said no. name: of the error, such as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"systemd: {message or name}")
        self.name = name


@dataclass(frozen=True)
class Message:
    """What came in. body: its texts; numbers are left out, nobody needs them."""

    kind: int
    reply_to: int
    name: str
    texts: tuple[str, ...]


def start_scope(unit: str, properties: list[Property]) -> None:
    """A transient scope that is active when this returns. Blocks; raises Refused, OSError."""
    body = _Writer().text(unit).text("fail")
    body.array(8, lambda: _properties(body, properties))
    body.array(8, lambda: None)  # auxiliary units
    _job("StartTransientUnit", "ssa(sv)a(sa(sv))", bytes(body.data))


def stop(unit: str) -> None:
    """Stop a unit and wait until it has stopped; one that is not there is no error. Blocks; raises Refused, OSError."""
    try:
        _job("StopUnit", "ss", bytes(_Writer().text(unit).text("replace").data))
    except Refused as refused:
        if refused.name != "org.freedesktop.systemd1.NoSuchUnit":
            raise


def set_properties(unit: str, properties: list[Property]) -> None:
    """Change a unit until the next boot. Blocks; raises Refused, OSError."""
    body = _Writer().text(unit).number(1, "I", 4)
    body.array(8, lambda: _properties(body, properties))
    with _connect() as connection:
        _ask(connection, "SetUnitProperties", "sba(sv)", bytes(body.data))


def _job(member: str, signature: str, body: bytes) -> None:
    """Ask for something that systemd does as a job, and wait for the job. Raises Refused when it did not succeed."""
    with _connect() as connection:
        early: list[Message] = []
        job = _ask(connection, member, signature, body, early).texts[0]
        while True:
            # Everybody on the private socket hears every signal, unasked.
            message = early.pop(0) if early else _receive(connection)
            if message.kind == _SIGNAL and message.name == "JobRemoved" and message.texts[0] == job:
                result = message.texts[-1]
                if result != "done":
                    raise Refused(result, f"{member} of {message.texts[1]}: {result}")
                return


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(SOCKET)
        connection.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            data = connection.recv(256)
            if not data or len(answer) > 4096:
                raise ConnectionError("systemd ended the connection")
            answer += data
        if not answer.startswith(b"OK "):
            raise PermissionError("systemd does not take our word for who we are")
        connection.sendall(b"BEGIN\r\n")
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(
    connection: socket.socket, member: str, signature: str, body: bytes, early: list[Message] | None = None
) -> Message:
    """One call and its answer; signals that come before it are put into `early`."""
    connection.sendall(call(member, signature, body) + _NUDGE)
    while True:
        message = _receive(connection)
        if message.kind == _ERROR and message.reply_to == 1:
            raise Refused(message.name, message.texts[0] if message.texts else "")
        if message.kind == _RETURN and message.reply_to == 1:
            return message
        if early is not None:
            early.append(message)


class _Writer:
    """D-Bus's marshalling, little-endian: everything begins at a multiple of its own size."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pad(self, to: int) -> _Writer:
        self.data += bytes(-len(self.data) % to)
        return self

    def number(self, value: int, code: str, size: int) -> _Writer:
        self.pad(size).data.extend(struct.pack("<" + code, value))
        return self

    def text(self, value: str) -> _Writer:
        raw = value.encode()
        self.number(len(raw), "I", 4).data.extend(raw + b"\0")
        return self

    def numbers(self, values: Iterable[int]) -> _Writer:
        return self.array(4, lambda: [self.number(value, "I", 4) for value in values])

    def signature(self, value: str) -> _Writer:
        self.data += bytes([len(value)]) + value.encode() + b"\0"
        return self

    def array(self, alignment: int, fill: Any) -> _Writer:
        """fill writes the elements; the length in front of them does not count the gap before the first."""
        at = len(self.pad(4).data)
        self.number(0, "I", 4).pad(alignment)
        begin = len(self.data)
        fill()
        struct.pack_into("<I", self.data, at, len(self.data) - begin)
        return self


def _properties(writer: _Writer, properties: list[Property]) -> None:
    for name, kind, value in properties:
        writer.pad(8).text(name).signature(kind)
        if kind == "s":
            writer.text(value)
        elif kind == "t":
            writer.number(value, "Q", 8)
        else:
            writer.numbers(value)


def call(member: str, signature: str, body: bytes) -> bytes:
    """A call of systemd's manager, number 1 on its connection. Pure."""
    return _call(1, 0, "org.freedesktop.systemd1.Manager", member, signature, body)


def _call(number: int, flags: int, interface: str, member: str, signature: str, body: bytes) -> bytes:
    writer = _Writer()
    writer.data += bytes((ord("l"), _CALL, flags, 1))
    writer.number(len(body), "I", 4).number(number, "I", 4)
    fields = (
        (1, "o", "/org/freedesktop/systemd1"),
        (2, "s", interface),
        (3, "s", member),
        (6, "s", "org.freedesktop.systemd1"),
    )

    def headers() -> None:
        for code, kind, value in fields:
            writer.pad(8).data.append(code)
            writer.signature(kind).text(value)
        writer.pad(8).data.append(8)
        writer.signature("g").signature(signature)

    writer.array(8, headers).pad(8)
    return bytes(writer.data) + body


# systemd reads the beginning of a connection into 256 bytes, with what follows BEGIN. A question that is in there as a
# whole it forgets until something else comes (sd-bus: bus_socket_read_auth, then it only waits for the socket); one of
# 230 bytes, such as to stop the scope of somebody with three letters, then has no answer. So something comes, which
# does not fit in: a call that wants no answer.
_NUDGE: Final = _call(2, _NO_REPLY, "org.freedesktop.DBus.Peer", "Ping", "", b"")


def _receive(connection: socket.socket) -> Message:
    start = _exactly(connection, 16)
    order = "<" if start[:1] == b"l" else ">"
    body, _, fields = struct.unpack_from(order + "III", start, 4)
    if body > _MOST or fields > _MOST:
        raise ConnectionError("systemd sent a message that is too long")
    header = _exactly(connection, fields + -fields % 8)
    return read(order, start[1], header[:fields], _exactly(connection, body))


def read(order: str, kind: int, header: bytes, body: bytes) -> Message:
    """The parts of a message that matter here. Pure."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(header):
        at += -at % 8
        code, size = header[at], header[at + 1]
        sort, at = chr(header[at + 2]), at + 3 + size
        if sort == "g":
            found[code], at = header[at + 1 : at + 1 + header[at]].decode(), at + header[at] + 2
        elif sort == "u":
            at += -at % 4
            (found[code],) = struct.unpack_from(order + "I", header, at)
            at += 4
        else:
            found[code], at = _text(order, header, at)
    texts, at = [], 0
    # Only what is asked here: texts, paths and 32-bit numbers; a body with anything else ends the reading.
    for sort in found.get(8, ""):
        if sort in "so":
            text, at = _text(order, body, at)
            texts.append(text)
        elif sort in "ub":
            at += -at % 4 + 4
        else:
            break
    name = found.get(4, "") if kind == _ERROR else found.get(3, "")
    return Message(kind, found.get(5, 0), name, tuple(texts))


def _text(order: str, data: bytes, at: int) -> tuple[str, int]:
    at += -at % 4
    (size,) = struct.unpack_from(order + "I", data, at)
    return data[at + 4 : at + 4 + size].decode(errors="replace"), at + 5 + size


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise ConnectionError("systemd ended the connection")
        data += more
    return bytes(data)
