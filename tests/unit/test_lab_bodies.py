"""Large requests to a person's server: read for whoever may use it, and for nobody else."""

from __future__ import annotations

import asyncio
import socket
from http.cookies import SimpleCookie

import pytest

pytest.importorskip("tornado")

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler, create_signed_value

from manylab.base.headers import may_exceed
from manylab.lab import bodies

SECRET = b"of this server"
COOKIE = "jupyterhub-user-alice"
SCOPE = "access:servers!server=alice/"


class Hub:
    """As much of HubOAuth as is asked; it knows two people."""

    cookie_name = COOKIE
    access_scopes = frozenset({SCOPE})

    async def user_for_token(self, token, sync):
        if token == "away":
            raise ConnectionError("the hub is away")
        return {"alices": {"scopes": [SCOPE]}, "eves": {"scopes": ["access:servers!server=eve/"]}}.get(token)

    def check_scopes(self, required, user):
        return set(required) & set(user["scopes"])


class Sizes(RequestHandler):
    def post(self):
        self.write(str(len(self.request.body)))


def cookie(token, secret=SECRET):
    return f"Cookie: other=1; {COOKIE}={create_signed_value(secret, COOKIE, token).decode()}"


def chunked(size):
    return b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(size // 0x10000)) + b"0\r\n\r\n"


async def said(path, header, size, *, chunks=False):
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    connection.connect(str(path))
    loop = asyncio.get_running_loop()
    length = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {size}"
    head = f"POST / HTTP/1.1\r\nHost: x\r\n{header + chr(13) + chr(10) if header else ''}{length}\r\n\r\n"
    sending = asyncio.ensure_future(
        loop.sock_sendall(connection, head.encode() + (chunked(size) if chunks else b"x" * size))
    )
    try:
        return (await loop.sock_recv(connection, 1000)).decode()
    except ConnectionResetError:
        return ""
    finally:
        sending.cancel()
        connection.close()


@pytest.fixture
def ask(tmp_path):
    """The answer to a request with this header, this long; guarded or as tornado has it."""

    def ask(header, size, guarded=True, **more):
        async def main():
            server = HTTPServer(Application([("/", Sizes)]), max_body_size=1 << 24)
            if guarded:
                bodies.guard(server, bodies.known_to(Hub(), SECRET))
            path = tmp_path / "server.sock"
            server.add_socket(bind_unix_socket(str(path)))
            try:
                return await asyncio.wait_for(said(path, header, size, **more), 30)
            finally:
                server.stop()

        return asyncio.run(main())

    return ask


LARGE = 1 << 20
STRANGERS = ("", "Authorization: token nobodys", "Authorization: token eves", "Authorization: token away",
             cookie("alices", b"another"), cookie("eves"), f"Cookie: {COOKIE}=alices")  # fmt: skip


@pytest.mark.parametrize("chunks", [False, True])
def test_a_stranger_cannot_have_a_server_keep_what_they_send(ask, chunks):
    assert "200 OK" in ask("", LARGE, guarded=False, chunks=chunks)
    for header in STRANGERS:
        assert "200 OK" not in ask(header, LARGE, chunks=chunks), header


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("header", [cookie("alices"), "Authorization: token alices", "Authorization: Bearer alices"])
def test_whoever_may_use_the_server_sends_large_files(ask, header, chunks):
    answer = ask(header, LARGE, chunks=chunks)
    assert "200 OK" in answer and answer.endswith(str(LARGE))


def test_small_requests_are_nobodys_business_here(ask):
    assert ask("", bodies.STRANGERS).endswith(str(bodies.STRANGERS))
    assert ask("Authorization: token away", 10).endswith("10")
    assert ask("", 0).endswith("0")


def test_a_cookie_is_read_as_tornado_wrote_it():
    jar = SimpleCookie()
    jar[COOKIE] = create_signed_value(SECRET, COOKIE, "alices").decode()
    headers = {"Cookie": jar.output(header="", sep=";"), "Authorization": "token of-the-header"}
    assert bodies.tokens(headers, COOKIE, SECRET) == ["of-the-header", "alices"]
    assert not may_exceed({"Content-Length": "65536"}, bodies.STRANGERS)
    assert may_exceed({"Content-Length": "9" * 30}, bodies.STRANGERS)
