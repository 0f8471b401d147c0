"""Requests that the hub reads: small ones of anybody, larger ones of whoever is signed in, and not too much at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest

pytest.importorskip("tornado")

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler, create_signed_value

from manylab.hub import bodies
from manylab.hub.doors import BODY

SECRET = b"of this hub"
COOKIE = "jupyterhub-hub-login"
MOST = 4 * bodies.STRANGERS  # in these tests
TOKEN = "Authorization: token alices"


class Sizes(RequestHandler):
    def get(self):
        self.write("hello")

    def post(self):
        self.write(f"read {len(self.request.body)}")


def cookie(secret=SECRET, name=COOKIE):
    return f"Cookie: other=1; {name}={create_signed_value(secret, name, 'some id').decode()}"


def chunked(size):
    return b"".join(b"1000\r\n" + b"x" * 0x1000 + b"\r\n" for _ in range(size // 0x1000)) + b"0\r\n\r\n"


async def begun(path, header, size, body):
    """A connection with a request on it that says it is this long; size: None for one in chunks."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    connection.connect(str(path))
    length = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
    head = f"POST / HTTP/1.1\r\nHost: x\r\n{header + chr(13) + chr(10) if header else ''}{length}\r\n\r\n"
    with contextlib.suppress(OSError):  # when nobody wants to hear the rest
        await asyncio.get_running_loop().sock_sendall(connection, head.encode() + body)
    return connection


async def said(connection):
    """What the hub says next; "" when it hangs up."""
    try:
        return (await asyncio.get_running_loop().sock_recv(connection, 1000)).decode()
    except ConnectionResetError:
        return ""


async def finished(connection):
    await asyncio.get_running_loop().sock_sendall(connection, b"x")
    return await said(connection)


@pytest.fixture
def serve(tmp_path):
    """Runs `scenario(path)` while a guarded server listens there."""

    def serve(scenario):
        async def main():
            server = HTTPServer(Application([("/", Sizes)]), max_body_size=BODY, body_timeout=60)
            known = bodies.known_to(COOKIE, SECRET, "alices".__eq__)
            bodies.guard(server, known, MOST)
            path = tmp_path / "hub.sock"
            server.add_socket(bind_unix_socket(str(path)))
            try:
                return await asyncio.wait_for(scenario(path), 30)
            finally:
                server.stop()
                await server.close_all_connections()

        return asyncio.run(main())

    return serve


@pytest.mark.parametrize("header", [TOKEN, "Authorization: Bearer alices", cookie()])
@pytest.mark.parametrize("chunks", [False, True])
def test_who_is_signed_in_may_send_a_long_list(serve, header, chunks):
    async def scenario(path):
        size = 3 * bodies.STRANGERS
        return await said(await begun(path, header, None if chunks else size, chunked(size) if chunks else b"x" * size))

    assert f"read {3 * bodies.STRANGERS}" in serve(scenario)


@pytest.mark.parametrize(
    "header",
    [
        "", "Authorization: token made-up", "Authorization: Basic alices", f"Cookie: {COOKIE}=made-up",
        cookie(secret=b"of another"), cookie(name="_xsrf"), "Cookie: jupyterhub-session-id=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunks", [False, True])
def test_a_stranger_may_send_a_form_and_no_more(serve, header, chunks):
    async def answer(path, size):
        return await said(await begun(path, header, None if chunks else size, chunked(size) if chunks else b"x" * size))

    async def scenario(path):
        assert f"read {bodies.STRANGERS}" in await answer(path, bodies.STRANGERS)
        return await answer(path, bodies.STRANGERS + 0x1000)

    assert "200 OK" not in serve(scenario)


def test_a_length_that_is_no_number_is_refused(serve):
    async def scenario(path):
        return await said(await begun(path, "", "many", b""))

    assert "400" in serve(scenario)


def test_requests_that_never_end_lose_their_place_and_nobody_is_turned_away(serve, caplog):
    caplog.set_level(logging.WARNING, "manylab.hub")

    async def scenario(path):
        body = b"x" * (bodies.STRANGERS - 1)
        held = [await begun(path, "", bodies.STRANGERS, body) for _ in range(10)]
        assert [await said(connection) for connection in held[:6]] == [""] * 6
        assert "read 300" in await said(await begun(path, "", 300, b"x" * 300))
        assert [("read" in await finished(connection)) for connection in held[-3:]] == [True] * 3
        # What is complete has left: there is room for as many again.
        again = [await begun(path, "", bodies.STRANGERS, body) for _ in range(4)]
        held[6].close()
        assert [("read" in await finished(connection)) for connection in again] == [True] * 4

    serve(scenario)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["unfinished requests fill 0 MB"]


def test_connections_that_end_early_leave_their_room_to_others(serve):
    async def scenario(path):
        kept = await begun(path, "", bodies.STRANGERS, b"x" * (bodies.STRANGERS - 1))
        for _ in range(20):
            (await begun(path, "", bodies.STRANGERS, b"x" * (bodies.STRANGERS - 1))).close()
            await asyncio.sleep(0.02)  # the server learns of the end in its own time
        return await finished(kept)

    assert "read" in serve(scenario)


def test_strangers_cannot_push_out_who_is_signed_in(serve):
    async def scenario(path):
        size = 2 * bodies.STRANGERS
        alices = await begun(path, TOKEN, size, b"x" * (size - 1))
        for _ in range(10):
            await begun(path, "", bodies.STRANGERS, b"x" * (bodies.STRANGERS - 1))
        return await finished(alices)

    assert "read" in serve(scenario)


def test_a_stranger_who_does_not_go_on_is_cut_off(serve, monkeypatch):
    monkeypatch.setattr(bodies, "HURRY", 0.2)

    async def scenario(path):
        alices = await begun(path, TOKEN, 2 * bodies.STRANGERS, b"x" * (2 * bodies.STRANGERS - 1))
        assert await said(await begun(path, "", 100, b"x")) == ""
        return await finished(alices)

    assert "read" in serve(scenario)


def test_a_connection_is_good_for_more_than_one_request(serve):
    async def scenario(path):
        connection = await begun(path, "", 5, b"x" * 5)
        assert "read 5" in await said(connection)
        await asyncio.get_running_loop().sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "hello" in await said(connection)
        size = 2 * bodies.STRANGERS
        head = f"POST / HTTP/1.1\r\nHost: x\r\n{TOKEN}\r\nContent-Length: {size}\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(connection, head.encode() + b"x" * size)
        return await said(connection)

    assert f"read {2 * bodies.STRANGERS}" in serve(scenario)
