"""What the command line asks of the hub: to restart people's servers. Over the hub's own socket, never the network."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from manylab.base.command_token import command_token
from manylab.base.errors import Unhealthy
from manylab.base.layout import Layout

# The warden gives a server 10 s before it kills it; what is left of it may take as long again. Seconds.
STOPPED_WITHIN = 60.0
_ANSWERS_WITHIN = 130.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class HubClient:
    """The hub's REST API with the command line's token. Everything raises Unhealthy when the hub refuses or is gone."""

    def __init__(self, layout: Layout, base_url: str) -> None:
        self._socket = layout.hub_socket
        self._prefix = f"{base_url}hub/api/"
        self._token = command_token(layout.cookie_secret.read_text(encoding="ascii"))

    def restart(self, person: str, server: str) -> None:
        """Stop a running server, wait until it is gone, and start it as the site is configured now."""
        user = f"users/{quote(person, safe='')}"
        path = f"{user}/servers/{quote(server, safe='')}" if server else f"{user}/server"
        self._ask("DELETE", path, also=(400, 404))  # it may have ended meanwhile
        deadline = time.monotonic() + STOPPED_WITHIN
        while server in self._ask("GET", user).get("servers", {}):
            if time.monotonic() > deadline:
                raise Unhealthy(f"the server {person}/{server} does not end", hint="see 'manylab logs'")
            time.sleep(0.2)
        self._ask("POST", path, also=(400,))  # its owner was quicker

    def _ask(self, method: str, path: str, also: tuple[int, ...] = ()) -> Mapping[str, Any]:
        connection = UnixConnection(self._socket, _ANSWERS_WITHIN)
        try:
            connection.request(method, self._prefix + path, headers={"Authorization": f"token {self._token}"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unhealthy(f"the hub does not answer: {error}", hint="see 'manylab status'") from error
        finally:
            connection.close()
        data = json.loads(text) if text.startswith("{") else {}
        if answer.status >= 400 and answer.status not in also:
            said = data.get("message") or f"status {answer.status}"
            raise Unhealthy(f"the hub refused {method} {path}: {said}", hint="see 'manylab logs hub'")
        return data
