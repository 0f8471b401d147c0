"""Web applications of one's own, through the server: whom it forwards to, and what it does not forward.

jupyter-server-proxy is not among what the tests install. A stand-in has its shape; the thing itself is looked at in
tests/machine/test_apart_deputy.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import sys
from ipaddress import ip_address
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("tornado")

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.testing import AsyncHTTPTestCase, bind_unused_port
from tornado.web import Application, HTTPError, RequestHandler, create_signed_value
from tornado.websocket import WebSocketHandler, websocket_connect

from manylab.lab import applications, ports
from manylab.lab.ports import Listener

SECRET = b"of this server"
COOKIE = "jupyterhub-user-alice"
TOKEN, API = "alices-token", "the-servers-token"
XSRF = base64.urlsafe_b64encode(create_signed_value(SECRET, "_xsrf", "id")).rstrip(b"=").decode()
SIGNED = create_signed_value(SECRET, COOKIE, TOKEN).decode()
# A browser sends a person's second server also what the first has set.
FIRST = base64.urlsafe_b64encode(create_signed_value(b"of another", "_xsrf", "another")).rstrip(b"=").decode()
THEIRS = f'{COOKIE}="{SIGNED}"; _xsrf={XSRF}; jupyterhub-session-id=abc; __Host-{COOKIE}-oauth-state=x; _xsrf={FIRST}'
OWN = "session=mine; _xsrf=2|0f|0f|1; username-127-0-0-1=kept"


class Hub:
    """As much of HubOAuth as is asked."""

    api_token, cookie_name = API, COOKIE
    auth_header_pat = re.compile(r"(?:token|bearer)\s+(.+)", re.IGNORECASE)

    def _get_token_cookie(self, handler):
        value = handler.get_secure_cookie(COOKIE)
        return value.decode() if value else None


def stand_in():
    """The module, made anew: what is patched in it is gone with it."""

    class ProxyHandler(WebSocketHandler):
        identity_provider = SimpleNamespace(hub_auth=Hub())
        unix_socket = None

        def prepare(self):
            given = self.get_argument("token", "") or self.request.headers.get("Authorization", "").partition(" ")[2]
            self._token_authenticated = given == TOKEN

        async def get(self, host, port, path):
            if self.request.headers.get("Upgrade") == "websocket":
                return await super().get(host, port, path)
            return await self.proxy(host, port, path)

        def _check_host_allowlist(self, host):
            return host in ("localhost", "127.0.0.1")

        def get_client_uri(self, protocol, host, port, path):
            return f"{protocol}://{host}:{port}{path}" + (f"?{self.request.query}" if self.request.query else "")

        def proxy_request_headers(self):
            return self.request.headers.copy()

        def get_request_headers_override(self):
            return {"X-Configured": TOKEN}

        async def proxy(self, host, port, path):
            if not self._check_host_allowlist(host):
                raise HTTPError(403, "not allowed")
            uri = self.get_client_uri("http", host, port, path)
            answer = await AsyncHTTPClient(force_instance=True).fetch(
                HTTPRequest(uri, headers=self.proxy_request_headers()), raise_error=False
            )
            self.finish(answer.body or b"")

        async def open(self, host, port, path):
            await self.proxy_open(host, port, path)

        async def proxy_open(self, host, port, path=""):
            uri = self.get_client_uri("ws", host, port, path)
            request = HTTPRequest(uri, headers=self.proxy_request_headers())
            self.ws = await websocket_connect(request)
            self.write_message(await self.ws.read_message())

        log = SimpleNamespace(warning=lambda *said: None)

        def write_error(self, status_code, **more):
            self.finish(str(more["exc_info"][1].log_message))

    module = ModuleType("jupyter_server_proxy.handlers")
    module.ProxyHandler = ProxyHandler
    return module


class Told(RequestHandler):
    """The application: it says what it was told."""

    def get(self):
        self.finish(json.dumps({"uri": self.request.uri, "headers": dict(self.request.headers.get_all())}))


class ToldInWebsocket(WebSocketHandler):
    def open(self):
        self.write_message(json.dumps({"uri": self.request.uri, "headers": dict(self.request.headers.get_all())}))


class TestOverHttp(AsyncHTTPTestCase):
    def get_app(self):
        self.patch = pytest.MonkeyPatch()
        self.addCleanup(self.patch.undo)
        module = stand_in()
        self.patch.setitem(sys.modules, module.__name__, module)
        self.patch.delitem(sys.modules, "jupyter_server_proxy.rawsocket", raising=False)
        applications.guard()
        once = dict(vars(module.ProxyHandler))
        applications.guard()
        assert dict(vars(module.ProxyHandler)) == once  # a server's start in a child of a nursery that did it already
        listening, self.port = bind_unused_port()
        self.application = HTTPServer(Application([("/ws", ToldInWebsocket), ("/.*", Told)]))
        self.application.add_socket(listening)
        return Application([(r"/proxy/(.*?):(\d+)(/.*)", module.ProxyHandler)], cookie_secret=SECRET)

    def tearDown(self):
        self.application.stop()
        super().tearDown()

    def ask(self, path="/", host="localhost", port=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.fetch(f"/proxy/{host}:{port or self.port}{path}", headers=headers)

    def told(self, path="/", **headers):
        return json.loads(self.ask(path, **headers).body)

    def others(self, *uids):
        found = [Listener(ip_address("127.0.0.1"), uid) for uid in uids]
        self.patch.setattr(ports, "listeners", lambda port: found)

    def test_what_opens_the_server_stays_and_what_is_the_applications_goes_on(self):
        told = self.told("/a?x=1", Cookie=f"{THEIRS}; {OWN}", X_XSRFToken=XSRF, Referer=f"http://x/?token={TOKEN}")
        assert told["uri"] == "/a?x=1"
        assert told["headers"]["Cookie"] == OWN
        assert not {"X-Xsrftoken", "Referer"} & set(told["headers"])
        assert told["headers"]["X-Configured"] == TOKEN  # as its owner configured it
        assert "Cookie" not in self.told(Cookie=THEIRS)["headers"]
        told = self.told(Authorization="Basic YTpi", X_XSRFToken="2|0f", Cookie=THEIRS)["headers"]
        assert (told["Authorization"], told["X-Xsrftoken"]) == ("Basic YTpi", "2|0f")

    def test_a_token_that_the_hub_knows_stays_and_one_of_the_applications_goes_on(self):
        for scheme in ("token", "Bearer"):
            for token in (TOKEN, API):
                assert "Authorization" not in self.told(Authorization=f"{scheme} {token}")["headers"]
        assert self.told(Authorization="Bearer its")["headers"]["Authorization"] == "Bearer its"
        assert self.told(f"/a?token={TOKEN}&x=%20")["uri"] == "/a?x=%20"
        assert self.told(f"/a?token={TOKEN}")["uri"] == "/a"
        assert self.told("/a?token=its&x")["uri"] == "/a?token=its&x"
        assert self.told(f"/a?_xsrf={XSRF}&x", Cookie=THEIRS)["uri"] == "/a?x"
        assert self.told(f"/a?t=alices%2Dtoken&x&token={TOKEN}")["uri"] == "/a?x"

    def test_of_two_tokens_the_hub_has_seen_one(self):
        told = self.told("/a?token=one-token&x", Authorization="Bearer another-token")
        assert told["uri"] == "/a?x" and "Authorization" not in told["headers"]
        told = self.told("/a?token=1&x", Authorization="Bearer o")  # too short for the hub, and in many a header
        assert told["uri"] == "/a?token=1&x" and {"Authorization", "Host"} < set(told["headers"])

    def test_in_websockets_too(self):
        async def said():
            url = f"ws://127.0.0.1:{self.get_http_port()}/proxy/localhost:{self.port}/ws?token={TOKEN}&x=1"
            connection = await websocket_connect(HTTPRequest(url, headers={"Cookie": f"{THEIRS}; {OWN}"}))
            return json.loads(await connection.read_message())

        told = self.io_loop.run_sync(said)
        assert told["uri"] == "/ws?x=1"
        assert told["headers"]["Cookie"] == OWN

    def test_a_port_of_another_account_is_refused_and_gets_nothing(self):
        asked = []
        self.patch.setattr(Told, "prepare", lambda handler: asked.append(handler), raising=False)
        uid = os.geteuid()
        for uids in ([uid + 1], [uid, uid + 1], [uid + 1, 0], [65534]):
            self.others(*uids)
            for host in ("localhost", "127.0.0.1"):
                answer = self.ask(host=host)
                assert answer.code == 403 and f"ort {self.port} belongs to another account" in answer.body.decode()
        assert asked == []
        for uids in ([uid], [0], [0, uid]):
            self.others(*uids)
            assert self.ask().code == 200
        assert len(asked) == 3

    def test_a_websocket_to_one_is_closed(self):
        self.others(os.geteuid() + 1)

        async def closed():
            url = f"ws://127.0.0.1:{self.get_http_port()}/proxy/localhost:{self.port}/ws"
            connection = await websocket_connect(url)
            assert await connection.read_message() is None
            return connection.close_code, connection.close_reason

        assert self.io_loop.run_sync(closed) == (1008, f"port {self.port} is another account's")

    def test_where_nobody_listens_nobody_is_asked(self):
        asked = []
        self.patch.setattr(Told, "prepare", lambda handler: asked.append(handler), raising=False)
        self.others()  # somebody comes to listen after the look
        answer = self.ask()
        assert answer.code == 500 and answer.body.decode() == f"nothing listens on port {self.port}"
        assert self.ask(port=self.port + 65536).code == 500
        assert asked == []

    def test_a_host_that_is_not_allowed_is_not_even_looked_up(self):
        self.patch.setattr(applications, "check", None)
        assert self.ask(host="example.org").body == b"not allowed"


def test_without_the_extension_there_is_nothing_to_guard(monkeypatch):
    monkeypatch.delitem(sys.modules, "jupyter_server_proxy.handlers", raising=False)
    applications.guard()


def test_another_machine_is_the_persons_affair(monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda port: [Listener(ip_address("0.0.0.0"), os.geteuid() + 1)])
    asyncio.run(applications.check("192.0.2.1", 8080))


def test_an_address_of_this_machine_that_is_no_loopback_is_looked_at_like_one(monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda port: [Listener(ip_address("::"), os.geteuid() + 1)])
    with pytest.raises(HTTPError):
        asyncio.run(applications.check("0.0.0.0", 8080))


def test_a_port_without_a_listener_is_refused_by_its_name():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asyncio.run(applications.check("127.0.0.1", port))
    for number in (port, 0, port + 65536):
        with pytest.raises(OSError, match="no"):
            asyncio.run(applications.check("127.0.0.1", number))


@pytest.mark.parametrize("name", ["Cookie", "cookie"])
def test_a_header_that_comes_twice_is_looked_at_twice(name):
    headers = HTTPHeaders()
    for value in (f"a=1; {COOKIE}=x", f"{COOKIE}-second=y ;b=2", "__Secure-jupyterhub-hub-login=z", "c=hid%64en"):
        headers.add(name, value)
    kept = applications.without(headers, {"hidden"})
    assert list(kept.get_all()) == [("Cookie", "a=1"), ("Cookie", "b=2")]
