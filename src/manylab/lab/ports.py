"""Who listens on a TCP port of this machine.

The kernel is asked for the listeners of one port (sock_diag(7)), which takes it 0.1 ms. Where it does not answer, as in
some containers, `/proc/net/tcp` is read: a hundred times slower, for all connections of the machine are looked through.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# <linux/netlink.h>, <linux/inet_diag.h>, and the state TCP_LISTEN of <net/tcp_states.h>.
_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP, _ERROR, _DONE, _LISTEN = 4, 20, 0x301, 2, 3, 10
_WAIT: Final = 1.0  # seconds
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Listener(NamedTuple):
    """uid: the account that made the socket."""

    address: Address
    uid: int


def listeners(port: int) -> list[Listener]:
    """All on this port, at whatever address. Raises OSError where that cannot be told."""
    try:
        return [one for family in (socket.AF_INET, socket.AF_INET6) for one in _asked(family, port)]
    except (OSError, struct.error):
        return in_table(_TABLES[0].read_text(), port) + in_table(_text(_TABLES[1]), port)


def reaching(found: list[Listener], target: Address) -> list[Listener]:
    """Those that somebody who connects to this address may come to. Pure.

    One at `::` counts for IPv4 too: whether it takes that is not told.
    """
    target = _plain(target)
    if target.is_unspecified:  # whoever connects to "any" comes to this
        target = ipaddress.ip_address("127.0.0.1" if target.version == 4 else "::1")

    def reached(address: Address) -> bool:
        if address.is_unspecified:
            return address.version == 6 or target.version == 4
        return address == target

    return [one for one in found if reached(_plain(one.address))]


def address_of(where: Any) -> Address:
    """Of what getaddrinfo has."""
    return _plain(ipaddress.ip_address(where[0].partition("%")[0]))


def of_this_machine(family: int, where: Any) -> bool:
    """Whether that is an address of this machine."""
    if address_of(where).is_loopback:
        return True
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((where[0], 0, *where[2:]))
        except OSError:
            return False
    return True


def in_table(text: str, port: int) -> list[Listener]:
    """The listeners of a port in the text of /proc/net/tcp or tcp6, as proc_pid_net(5) has them. Pure."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        address, _, number = fields[1].partition(":")
        if int(fields[3], 16) == _LISTEN and int(number, 16) == port:
            words = [bytes.fromhex(address[start : start + 8]) for start in range(0, len(address), 8)]
            octets = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
            found.append(Listener(ipaddress.ip_address(octets), int(fields[7])))
    return found


def _asked(family: int, port: int) -> list[Listener]:
    request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 1 << _LISTEN) + struct.pack("!H", port) + bytes(46)
    header = struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
    found: list[Listener] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.settimeout(_WAIT)
        kernel.send(header + request)
        while True:
            data = kernel.recv(1 << 16)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                # At the end, too, there may be an error in the place of a zero: where the kernel's part is missing.
                if kind == _ERROR or (kind == _DONE and struct.unpack_from("=i", data, 16)[0] < 0):
                    raise OSError("the kernel tells nothing of sockets")
                if kind == _DONE:
                    return found
                found += _listener(data[16:length], port)
                data = data[(length + 3) & ~3 :]


def _listener(message: bytes, port: int) -> list[Listener]:
    """struct inet_diag_msg. An old kernel does not look at the port that is asked for."""
    number = struct.unpack_from("!H", message, 4)[0]
    octets = message[8:12] if message[0] == socket.AF_INET else message[8:24]
    uid = struct.unpack_from("=I", message, 64)[0]
    return [Listener(ipaddress.ip_address(octets), uid)] if number == port else []


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one, as IPv4."""
    return getattr(address, "ipv4_mapped", None) or address


def _text(table: Path) -> str:
    try:
        return table.read_text()
    except FileNotFoundError:  # without IPv6
        return ""
