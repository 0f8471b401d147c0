"""A server that sends next to nothing, or without end, is given up before it costs anybody their work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from manylab.base.errors import DownloadFailed, EnvironmentFailed
from manylab.system.environments import installers
from manylab.system.environments.installers import Watch, solve
from manylab.system.run import run
from support.conda_site import CondaSite


@contextmanager
def serving(piece: bytes, seconds: float) -> Iterator[str]:
    """An index, and a channel, whose every page is `piece` after `piece`, one in so many seconds."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "shards" in self.path:  # without those, channels are read as a whole
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            try:
                while not over.wait(seconds):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                pass

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def solved(address: str, cache: Path) -> str:
    network = {"UV_DEFAULT_INDEX": f"{address}/simple"}
    return solve(["six"], prefer="", python=sys.executable, cache=cache, network=network, say=lambda line: None)


def test_an_index_that_drips_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(installers, "_PATIENCE", 1.0)
    with serving(b"<", 0.1) as address, pytest.raises(DownloadFailed, match="next to nothing") as failure:
        solved(address, tmp_path)
    assert "mirrors" in failure.value.hint


def test_an_index_page_without_end_does_not_take_the_machine_s_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(installers, "_LARGEST", 300 << 20)
    with serving(b" " * (1 << 20), 0.0) as address, pytest.raises(EnvironmentFailed, match="of memory"):
        solved(address, tmp_path)


def test_a_channel_that_drips_is_given_up(tmp_path):
    with serving(b"{", 0.1) as address, pytest.raises(DownloadFailed, match="next to nothing"):
        CondaSite(tmp_path, (address,), patience=1.0).solve("maps")


def test_a_channel_without_end_does_not_fill_the_disk(tmp_path, monkeypatch):
    def usage(folder: Path) -> object:
        """A disk that is full as soon as something of that is on it."""
        written = sum(path.stat().st_size for path in folder.rglob(".tmp*"))
        return type("Usage", (), {"total": 1 << 40, "free": 0 if written > 10_000 else 1 << 40})

    monkeypatch.setattr(installers.shutil, "disk_usage", usage)
    with serving(b" " * (1 << 10), 0.001) as address, pytest.raises(installers.DiskFull):
        CondaSite(tmp_path, (address,)).solve("maps")
    assert list(tmp_path.rglob(".tmp*")) == []


@pytest.mark.parametrize(
    "code", ["while time.time() < end: pass", "while time.time() < end: file.write('x' * 4096); time.sleep(0.01)"]
)
def test_what_computes_or_writes_is_left_alone(tmp_path, code):
    program = f"import time; end = time.time() + 1.5; file = open({str(tmp_path / 'x')!r}, 'w')\n{code}"
    assert run([sys.executable, "-I", "-c", program], watch=Watch(tmp_path, patience=0.3)).status == 0
    with pytest.raises(DownloadFailed):
        run([sys.executable, "-I", "-c", "import time; time.sleep(30)"], watch=Watch(tmp_path, patience=0.3))


@pytest.mark.parametrize("options", [(), ("--python-version", "3.12")])
def test_the_folder_that_root_happens_to_be_in_has_no_say(tmp_path, monkeypatch, options):
    """uv looks for a .venv there, and runs its Python: somebody's home may have one that waits for root."""
    ran = tmp_path / "ran"
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ntouch {ran}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    words = ["pip", "compile", "-", "--offline", *options]
    installers.uv(words, tmp_path / "cache", {}, lambda line: None, input="\n")
    assert not ran.exists()
