"""The address: whose the port is, whether the hub answers behind it, and whether what crosses the network is safe."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from manylab.base.errors import ManylabError
from manylab.cli.doctor.paths import some
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, fine, problem, warning
from manylab.model.hub import local_url
from manylab.system import ports
from manylab.system.http import status_of
from manylab.system.hub_client import UnixConnection
from manylab.system.ports import Listener

_PATIENCE = 5.0  # seconds
# Ports from this one on are for everybody (ip-sysctl.rst).
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@check(
    "port-taken",
    "The port is free, or the site's own",
    why=(
        "Only one program can listen on a port: with another one there the site cannot start, or people reach "
        "something else."
    ),
    mend="stop the other program, or choose another port: sudo manylab config set http.port 8001 && sudo manylab apply",
)
def port_taken(scene: Scene) -> Iterator[Finding]:
    port = scene.config.http.port
    if scene.parts.running:
        if scene.layout.system:
            scene.need_root()
        yield from judge_port(ports.listeners(port), port, scene.parts.pid("proxy"), scene.site.facts.min_uid)
        return
    try:
        ports.check_free(str(scene.config.http.address), port)
    except ManylabError as error:
        yield problem(error.message, error.hint)


def judge_port(found: Sequence[Listener], port: int, proxy: int | None, min_uid: int) -> Iterator[Finding]:
    """The site's proxy has the port, and no person's program has it at another address: `localhost` is ::1 first, and
    a proxy on 127.0.0.1 leaves that to whoever comes. Root's (a web server before the site) are its owner's affair.

    min_uid: where people's accounts begin. Pure.
    """
    if proxy is not None and found and proxy not in {one.pid for one in found}:
        yield problem(f"port {port} is used by {found[0]}, not by the site's proxy")
        return
    for one in found:
        if one.pid != proxy and one.uid >= min_uid:
            yield problem(
                f"port {port} of {one.address} is used by {one.name} (pid {one.pid}, uid {one.uid}): who goes to "
                "a name, as localhost is, may reach that and not the site",
                f"look at it: ps -fp {one.pid}; give people an address with a number, as http://127.0.0.1:{port}",
            )


@check(
    "port-anybody",
    "Nobody but root could listen on the site's port while the site is stopped",
    why=(
        "From port 1024 on, anybody with an account on this machine can put a sign-in page of their own there while "
        "the site is stopped, and read the passwords of those who come."
    ),
    mend="where people do not trust each other: sudo manylab config set http.port 80 && sudo manylab apply",
)
def port_anybody(scene: Scene) -> Iterator[Finding]:
    port, least = scene.config.http.port, int(_UNPRIVILEGED.read_text(encoding="ascii"))
    if scene.layout.system and port >= least and len(scene.people) > 1:
        yield fine(f"anybody could listen on port {port} while the site is stopped; below {least} only root could")


@check(
    "hub-silent",
    "The hub answers at the site's address",
    why="When the hub does not answer nobody can sign in or start a server, although every process may be there.",
    mend="sudo manylab logs hub; sudo manylab restart",
)
def hub_silent(scene: Scene) -> Iterator[Finding]:
    scene.need_running()
    url = f"{local_url(scene.config)}hub/health"
    status = status_of(url, timeout=_PATIENCE)
    if status != 200:
        yield problem(f"{url} does not answer" if status == 0 else f"{url} answers with status {status}")


def routes(api: Path, token: str) -> dict[str, Any]:
    """What the proxy sends where, by path. Raises OSError."""
    connection = UnixConnection(api, _PATIENCE)
    try:
        connection.request("GET", "/api/routes", headers={"Authorization": f"token {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"the proxy's API answers with status {answer.status}")
        found: dict[str, Any] = json.loads(body)
        return found
    finally:
        connection.close()


def settled(scene: Scene, servers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that have had the time to start."""
    latest = time.time() - scene.config.servers.start_timeout
    return [one for one in servers if float(one["since"]) < latest]


def missing_routes(have: Iterable[str], servers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Paths that should have a route and have none: the hub's, and each running server's. Pure.

    What comes before that of a server is not looked at: a host, with subdomains, and the base_url it was started with.
    """
    # Escaped or not, it is the same name: the proxy and the hub each have their own way.
    known = ["/" + unquote(path).strip("/") for path in have]
    wanted = [f"/user/{one['user']}" + (f"/{one['server']}" if one["server"] else "") for one in servers]
    left = [path for path in wanted if not any(route.endswith(path) for route in known)]
    return left if "/" in known else ["/", *left]


@check(
    "proxy-routes",
    "The proxy knows the way to the hub and to every running server",
    why="A proxy without routes answers everything with an error page, while the hub believes that all is well.",
    mend="sudo manylab restart (people's servers go on)",
)
def proxy_routes(scene: Scene) -> Iterator[Finding]:
    servers = scene.servers
    token = scene.layout.hub_proxy_token.read_text(encoding="ascii").strip()
    try:
        found = routes(scene.layout.proxy_api_socket, token)
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield problem(f"the proxy's API does not answer: {error}")
        return
    left = missing_routes(found, settled(scene, servers))
    if not found:
        yield problem("the proxy has no routes at all")
    elif left:
        yield problem(f"the proxy has no route for {some(left)}")


@check(
    "plain-http",
    "Passwords do not cross the network in the clear",
    why="With http on an address that others can reach, everybody on the way can read passwords and be that person.",
    mend=(
        "set https.certificate and https.key, or listen on 127.0.0.1 behind a web server that speaks https; then "
        "sudo manylab apply"
    ),
)
def plain_http(scene: Scene) -> Iterator[Finding]:
    settings = scene.config.http
    if not settings.loopback and not scene.config.https.enabled:
        yield warning(f"the site listens on {settings.address} without https (http.insecure = true)")


@check(
    "socket-dead",
    "Every socket of the site has somebody behind it",
    why="A socket file whose process is gone makes those who use it wait and then fail.",
    mend="sudo manylab restart",
)
def socket_dead(scene: Scene) -> Iterator[Finding]:
    scene.need_running()
    layout = scene.layout
    for path in (layout.hub_socket, layout.proxy_api_socket, layout.warden_socket):
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(str(path))
        except FileNotFoundError:
            yield problem(f"{path} is not there")
        except OSError as error:
            yield problem(f"nobody answers on {path}: {error.strerror or error}")


def listed_missing(servers: Iterable[Mapping[str, Any]], there: Iterable[str]) -> list[str]:
    """Sockets of running servers that are not there. Pure."""
    known = set(there)
    return [str(one["socket"]) for one in servers if str(one["socket"]) not in known]


@check(
    "server-socket",
    "Every running server can be reached by the proxy",
    why="A server whose socket is gone runs, uses memory, and answers nobody.",
    mend="let the person stop and start the server (File > Hub Control Panel), or: sudo manylab restart",
)
def server_socket(scene: Scene) -> Iterator[Finding]:
    servers = scene.servers
    if not servers:
        raise Skip("no server runs")
    there = [str(one["socket"]) for one in servers if Path(str(one["socket"])).exists()]
    for path in listed_missing(settled(scene, servers), there):
        yield problem(f"{path} is not there although its server runs")
