"""debugpy in an environment takes connections of its own account only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from manylab.system.environments import debugger, same_account, share

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
SOMEBODY = 12345


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def server(request) -> Iterator[socket.socket]:
    """Listens; on "::" for IPv4, too."""
    said: list[str] = []

    def create(host: str) -> socket.socket:
        return socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, dualstack_ipv6=host == "::"
        )

    try:
        made = same_account.guarded(create, lambda text, *more: said.append(text.format(*more)))(request.param)
    except OSError:
        pytest.skip("this machine has no IPv6")
    made.settimeout(10)
    with made:
        made.said = said
        yield made


def addresses(server: socket.socket) -> list[tuple[str, int]]:
    """How it is reached: on "::" as IPv4 by a socket of either kind."""
    host, port = server.getsockname()[:2]
    return [(each, port) for each in (["::1", "127.0.0.1", "::ffff:127.0.0.1"] if host == "::" else [host])]


def connect_as(uid: int, address: tuple[str, int]) -> int:
    """A child of that account, which says "evil" and hears until the end; its pid."""
    if (pid := os.fork()) == 0:
        try:
            os.setuid(uid)
            with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as one:
                one.settimeout(10)
                one.connect(address)
                one.sendall(b"evil")
                os._exit(0 if one.recv(1) == b"" else 1)
        except ConnectionError:
            os._exit(0)
        finally:
            os._exit(2)
    return pid


def client(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, 10)


def test_what_the_own_account_says_is_heard(server):
    for address in addresses(server):
        with client(address) as one:
            one.sendall(b"hello")
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(5) == b"hello"
    assert server.said == []


@as_root
def test_another_account_is_closed_and_the_next_is_served(server):
    for address in addresses(server):
        server.said.clear()
        found: list[socket.socket] = []
        thread = threading.Thread(target=lambda found=found: found.append(server.accept()[0]))
        thread.start()
        assert os.waitstatus_to_exitcode(os.waitpid(connect_as(SOMEBODY, address), 0)[1]) == 0
        with client(address) as one:
            one.sendall(b"hello")
            thread.join(10)
            assert found[0].recv(5) == b"hello"
            found[0].close()
        assert ["Refused" in text for text in server.said] == [True]


@as_root
def test_for_somebody_else_root_is_another_account_too(server, monkeypatch):
    monkeypatch.setattr(same_account.os, "geteuid", lambda: SOMEBODY)
    server.settimeout(0.3)
    with client(addresses(server)[0]), pytest.raises(TimeoutError):
        server.accept()


def test_who_hangs_up_before_they_are_looked_at_is_nobody(server):
    """What is closed has no owner any more, and the table then says root."""
    with client(addresses(server)[0]) as one:
        one.sendall(b"evil")
    server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        server.accept()


def test_who_hangs_up_as_debugpy_does_is_heard(server):
    def speak() -> None:
        one = client(addresses(server)[0])
        one.sendall(b"hello")
        same_account.heard(socket.socket.close)(one)

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join(0.3)
    accepted, _ = server.accept()
    with accepted:
        assert [accepted.recv(5), accepted.recv(5)] == [b"hello", b""]
    thread.join(10)
    assert not thread.is_alive()


def test_hanging_up_on_what_is_not_connected_any_more_works():
    closed: list[socket.socket] = []
    with socket.socket() as one, socket.create_server(("127.0.0.1", 0)) as other:
        for each in (one, other):
            same_account.heard(closed.append)(each)
        assert closed == [one, other]


@pytest.mark.parametrize("table", ["nothing", "no rows", "no table"])
def test_what_cannot_be_known_is_refused(server, monkeypatch, tmp_path, table):
    (tmp_path / "no rows").write_text("sl local_address\n")
    (tmp_path / "no table").write_text("sl\n1 2 3 01\n")
    monkeypatch.setattr(same_account, "_TABLES", (str(tmp_path / table),))
    server.settimeout(0.3)
    with client(addresses(server)[0]), pytest.raises(TimeoutError):
        server.accept()


def test_the_time_that_a_server_waits_is_kept():
    def create(timeout: float | None) -> socket.socket:
        made = socket.create_server(("127.0.0.1", 0))
        made.settimeout(timeout)
        return made

    for timeout in (None, 30.0):
        with same_account.guarded(create, print)(timeout) as server:
            assert server.gettimeout() == timeout


# in an environment


def environment(folder: Path) -> Path:
    """One with the debugpy that is locked, each file a link to what uv has in its cache; the package's folder."""
    spec = importlib.util.find_spec("debugpy")
    assert spec is not None and spec.origin is not None
    cache = folder.parent / "cache"
    if not cache.exists():
        for part in ("common", "server", "adapter"):
            leave = shutil.ignore_patterns("__pycache__", f"{debugger.GUARD}.py")
            shutil.copytree(Path(spec.origin).parent / part, cache / part, ignore=leave)
        path = cache / "common/sockets.py"
        path.write_text(path.read_text().removesuffix(debugger._ADDED))
    package = folder / "lib/python3.11/site-packages/debugpy"
    shutil.copytree(cache, package, copy_function=os.link)
    return package


def test_the_debugpy_that_is_locked_is_closed_and_uvs_cache_is_not_written(tmp_path):
    package = environment(tmp_path / "one")
    before = (tmp_path / "cache/common/sockets.py").read_text()
    assert debugger.close(tmp_path / "one") == []
    now = (package / "common/sockets.py").read_text()
    assert now.startswith(before) and "guarded(create_server" in now
    assert (tmp_path / "cache/common/sockets.py").read_text() == before
    assert not (tmp_path / "cache/common" / f"{debugger.GUARD}.py").exists()
    compile(now, "sockets.py", "exec")


def test_once_more_changes_nothing_and_generations_share_the_files(tmp_path):
    files = ("common/sockets.py", f"common/{debugger.GUARD}.py")
    packages = [environment(tmp_path / name) for name in ("one", "two")]
    for name in ("one", "two", "two"):
        assert debugger.close(tmp_path / name) == []
    share.link_same(tmp_path / "two", [tmp_path / "one"])
    for file in files:
        assert (packages[0] / file).stat().st_ino == (packages[1] / file).stat().st_ino


def test_byte_code_that_came_with_the_package_goes(tmp_path):
    package = environment(tmp_path / "one")
    (package / "common/__pycache__").mkdir()
    (package / "common/__pycache__/sockets.cpython-311.pyc").write_bytes(b"old")
    debugger.close(tmp_path / "one")
    assert list((package / "common/__pycache__").iterdir()) == []


def renamed(package: Path) -> None:
    path = package / "common/sockets.py"
    text = path.read_text().replace("create_server", "make_listener")
    path.unlink()
    path.write_text(text)


def elsewhere(package: Path) -> None:
    (package / "adapter/quick.py").write_text("import asyncio\n\nasyncio.start_server(print, '127.0.0.1', 0)\n")


def linked(package: Path) -> None:
    (package / "common").rename(package.parents[4] / "outside")
    (package / "common").symlink_to(package.parents[4] / "outside")


def gone(package: Path) -> None:
    (package / "common/sockets.py").unlink()


@pytest.mark.parametrize("change", [renamed, elsewhere, linked, gone])
def test_one_that_is_different_is_told(tmp_path, change):
    package = environment(tmp_path / "one")
    (package.parent / "debugpy-9.9.dist-info").mkdir()
    change(package)
    (said,) = debugger.close(tmp_path / "one")
    assert said.startswith("debugpy 9.9 listens in a way that this version of manylab does not know")
    assert not (tmp_path / "outside" / f"{debugger.GUARD}.py").exists()


def test_an_environment_without_it_is_left_alone(tmp_path):
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    assert debugger.close(tmp_path) == []
    assert list((tmp_path / "lib/python3.11/site-packages").iterdir()) == []
