"""Who may have how many connections to the hub's socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys

import pytest

pytest.importorskip("tornado")

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

from manylab.hub import doors
from manylab.hub.doors import Doors, owner
from manylab.warm import process

SUBUID = ["# comment", "alice:100000:65536", "1001:165536:65536", "broken", ""]


class Hello(RequestHandler):
    def get(self):
        self.write("hello")


def connected(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)  # as the proxy's: with a full backlog connect fails and does not wait
    connection.connect(str(path))
    return connection


async def is_closed(connection):
    """Waits for the other end to say something or to hang up."""
    return await asyncio.get_running_loop().sock_recv(connection, 1000) == b""


async def answers(connection):
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return b"200 OK" in await loop.sock_recv(connection, 1000)


def serve(path, guard, scenario):
    """Runs `scenario` while a server that `guard` watches listens on `path`."""

    async def main():
        server = guard.guard(HTTPServer(Application([("/", Hello)])))
        server.add_socket(bind_unix_socket(str(path)))
        try:
            await asyncio.wait_for(scenario(), 30)
        finally:
            server.stop()

    asyncio.run(main())


def test_an_account_at_its_limit_is_hung_up_on_until_it_closes_one(tmp_path):
    path = tmp_path / "hub.sock"

    async def scenario():
        held = [connected(path) for _ in range(3)]
        assert await is_closed(connected(path))
        assert await answers(held[0])
        held.pop().close()
        # The server learns of the end in its own time.
        while not (again := await stays(path)):
            await asyncio.sleep(0.01)
        assert await answers(again)
        assert await is_closed(connected(path))

    async def stays(path):
        connection = connected(path)
        with contextlib.suppress(OSError):
            if await answers(connection):
                return connection
        return None

    serve(path, Doors(free=(), most=3), scenario)


def test_the_proxy_has_no_limit(tmp_path):
    path = tmp_path / "hub.sock"

    async def scenario():
        held = [connected(path) for _ in range(20)]
        assert all([await answers(connection) for connection in held])

    serve(path, Doors(free={os.getuid()}, most=3), scenario)


def test_a_connection_that_says_nothing_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(doors, "PATIENCE", 0.2)
    path = tmp_path / "hub.sock"

    async def scenario():
        silent, slow = connected(path), connected(path)
        await asyncio.get_running_loop().sock_sendall(slow, b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await is_closed(silent)
        assert await is_closed(slow)

    serve(path, Doors(free=()), scenario)


def test_the_proxy_may_keep_a_connection_for_later_but_not_half_a_request(tmp_path, monkeypatch):
    monkeypatch.setattr(doors, "PATIENCE", 0.2)
    path = tmp_path / "hub.sock"

    async def scenario():
        kept, half = connected(path), connected(path)
        head = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(half, head)
        assert await is_closed(half)
        assert await answers(kept)

    serve(path, Doors(free={os.getuid()}), scenario)


def test_a_class_that_arrives_in_the_same_second_waits_its_turn(tmp_path):
    path = tmp_path / "hub.sock"

    async def scenario():
        # Nothing is accepted while this runs: connect() does not give the loop back.
        held = [connected(path) for _ in range(500)]
        assert all([await answers(connection) for connection in held])

    serve(path, Doors(free={os.getuid()}), scenario)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_one_account_at_its_limit_takes_nothing_from_another(tmp_path):
    tmp_path.chmod(0o755)
    for folder in list(tmp_path.parents)[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    path = tmp_path / "hub.sock"
    hold = (
        "import os, socket, sys\n"
        "os.setuid(65533)\n"
        "held = [socket.socket(socket.AF_UNIX) for _ in range(50)]\n"
        "for one in held: one.connect(sys.argv[1])\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )

    async def scenario():
        path.chmod(0o666)
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as eve:
            try:
                await asyncio.to_thread(eve.stdout.readline)
                assert await answers(connected(path))
            finally:
                eve.kill()

    serve(path, Doors(free=(), most=3), scenario)


@pytest.mark.parametrize(
    ("uid", "whose"),
    [
        (1000, 1000), (99999, 99999), (100000, "subordinates of alice"), (165535, "subordinates of alice"),
        (165536, "subordinates of 1001"), (300000, 300000),
    ],
)  # fmt: skip
def test_subordinate_accounts_count_as_the_person_who_has_them(uid, whose):
    assert owner(uid, SUBUID) == whose


def test_the_hub_may_open_as_many_files_as_it_is_allowed():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limits[1]), limits[1]))
    try:
        assert process.more_files()[1] == limits[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limits[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_nobody_can_have_the_hub_keep_a_large_request(tmp_path):
    path = tmp_path / "hub.sock"

    async def said(length):
        connection = connected(path)
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(connection, head.encode() + b"x" * (length % doors.BODY))
        return await asyncio.get_running_loop().sock_recv(connection, 1000)

    async def scenario():
        assert b"400 Bad Request" in await said(doors.BODY + 1)
        assert b"405" in await said(1000)  # read, and then nothing for it is there

    # As root, who has no limit of connections, and as somebody who has one: the proxy's requests are anybody's.
    for free in ({os.geteuid()}, set()):
        serve(path, Doors(free), scenario)
        path.unlink()
