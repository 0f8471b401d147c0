"""Addresses: unix sockets as JupyterHub writes them (`http+unix://<percent-encoded path>`), and people's subdomains."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from jupyterhub.objects import Server
from jupyterhub.utils import subdomain_hook_idna

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


def socket_url(path: str) -> str:
    """The address of a unix socket.

    JupyterHub reads the host back with `urlparse(...).hostname`, which makes letters small and ends at ":", so
    everything but small letters and digits is percent-encoded: what is left survives that.
    """
    return "http+unix://" + "".join(c if c in _PLAIN else "".join(f"%{b:02x}" for b in c.encode()) for c in path)


def socket_path(url: str) -> str | None:
    """The path of the socket in an `http+unix://` address, None for any other address."""
    parts = urlsplit(url)
    if parts.scheme != "http+unix":
        return None
    return unquote(parts.netloc.rpartition(":")[0] if _has_port(parts.netloc) else parts.netloc)


def without_port(url: str) -> str:
    """An `http+unix://` address without the port that JupyterHub's database gives it; any other address unchanged.

    `User.spawn` stores port 80 when the spawner's address has none, and `Server.host` puts it back, so that the route
    becomes "...sock:80", which is the name of a file that does not exist.
    """
    parts = urlsplit(url)
    if parts.scheme != "http+unix" or not _has_port(parts.netloc):
        return url
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()


def _has_port(netloc: str) -> bool:
    return netloc.rpartition(":")[2].isdigit() and ":" in netloc


class SocketServer(Server):  # type: ignore[misc]
    """A person's server as the hub's database remembers it, with addresses that are right for a unix socket.

    Everything in JupyterHub that needs the address of a server (waiting for it, its route, checking routes, finding it
    again after the hub was restarted) asks `host` or `url`, so this is the one place to take the port off.
    The database is read each time, because `User.spawn` fills it in through an object of its own.
    """

    @property
    def host(self) -> str:
        row = self.orm_server
        if row is None or row.proto != "http+unix":
            return str(super().host)
        return f"http+unix://{row.ip}"

    @property
    def url(self) -> str:
        row = self.orm_server
        if row is None or row.proto != "http+unix":
            return str(super().url)
        return f"{self.host}{row.base_url}"


def as_socket_server(server: Any) -> Any:
    """The same server as a SocketServer; None stays None."""
    if server is None or isinstance(server, SocketServer) or server.orm_server is None:
        return server
    return SocketServer(orm_server=server.orm_server)


def subdomain(name: str, domain: str, kind: str) -> str:
    """The name in the DNS of somebody's servers, or of a service (`JupyterHub.subdomain_hook`).

    JupyterHub's own keeps capitals, which the DNS does not know: `Bob` and `bob` would share an origin. "--" makes it
    use a hash of the whole name instead.
    """
    return str(subdomain_hook_idna(name if name == name.lower() else f"--{name}", domain, kind))
