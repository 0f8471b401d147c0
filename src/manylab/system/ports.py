"""Who listens on a port."""

from __future__ import annotations

import errno
import socket

import psutil

from manylab.base.errors import ConfigError, PortTaken, Refused


def check_free(address: str, port: int) -> None:
    """Raises PortTaken (naming who has it), Refused (a port that only root may use) or ConfigError (an address of
    another machine).
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(
            f"http.address {address!r} cannot be used: {error.strerror}",
            hint="set http.address to an address of this machine",
        ) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"port {port} on {address} is used by {holder(port)}",
                    hint=f"stop it, or choose another port: manylab config set http.port {port % 65535 + 1}",
                    port=port,
                ) from None
            if error.errno == errno.EACCES:
                raise Refused(
                    f"port {port} may only be used by root",
                    hint="choose a port above 1023: manylab config set http.port 8000",
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigError(
                    f"{address} is not an address of this machine",
                    hint="set http.address to one that 'ip address' shows",
                ) from None
            raise


def holder(port: int) -> str:
    """Who listens on the port, as far as this account may know: "nginx (pid 812)"."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return "another program"
