"""Who listens on a port."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from dataclasses import dataclass
from typing import Any, Final

import psutil

from manylab.base import procfs
from manylab.base.errors import ConfigError, PortTaken, Refused

_PATIENCE: Final = 2.0  # seconds for a look at all processes


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


@dataclass(frozen=True)
class Listener:
    """A program that listens on a port, at one address of this machine. pid: 0 for one that this account may not look
    at, which has no name then; uid is -1.
    """

    address: str
    pid: int = 0
    name: str = ""
    uid: int = -1

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else "another program"


def listeners(port: int) -> list[Listener]:
    """All of them, as far as this account may know."""
    everything: list[list[Listener]] = []
    thread = threading.Thread(target=lambda: everything.append(_listeners(port)), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if everything:
        return everything[0]
    # Somebody has a process that cannot be looked at (base/procfs.py): one by one takes longer, and needs no such.
    found = procfs.each(psutil.pids(), lambda pid: _listeners(port, pid))
    return [one for several in found.values() for one in several]


def _listeners(port: int, pid: int | None = None) -> list[Listener]:
    """Of all processes, or of one."""
    found = []
    with contextlib.suppress(psutil.Error):
        of: Any = psutil if pid is None else psutil.Process(pid)
        for one in of.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                with contextlib.suppress(psutil.NoSuchProcess):
                    who = pid or one.pid
                    process = psutil.Process(who) if who else None
                    known = (process.pid, process.name(), process.uids().real) if process else ()
                    found.append(Listener(one.laddr.ip, *known))
    return found


def holder(port: int) -> str:
    """Who listens on the port, as far as this account may know: "nginx (pid 812)"."""
    return next((str(one) for one in listeners(port) if one.pid), "another program")
