"""A package index that does what no index should: it lies, cuts off, drips, never ends, and has packages that bite."""

from __future__ import annotations

import copy
import hashlib
import io
import struct
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

# none: the page says no hash. wrong: another one. cut: the connection ends half way. endless: it never does.
# deaf: it takes the question and says nothing. fine: as it should be.
Manner = Literal["fine", "none", "wrong", "cut", "endless", "deaf"]


def bad_wheel(
    folder: Path,
    name: str,
    members: Mapping[str, bytes],
    *,
    links: Mapping[str, str] | None = None,
    zeros: Sequence[str] = (),
) -> Path:
    """A wheel with exactly these members, whatever their names; links: member -> target, as a symbolic link; zeros:
    members of 256 MiB that are nothing else, with names of the same length.
    """
    info = f"{name}-1.0.dist-info"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, content in members.items():
            archive.writestr(zipfile.ZipInfo(inside), content, zipfile.ZIP_DEFLATED)
        if zeros:
            _write_zeros(archive, out, zeros)
        for inside, target in (links or {}).items():
            entry = zipfile.ZipInfo(inside)
            entry.create_system, entry.external_attr = 3, 0o120777 << 16
            archive.writestr(entry, target)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        names = [*members, *zeros, *(links or {}), f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{one},,\n" for one in names))
    path = folder / f"{name}-1.0-py3-none-any.whl"
    path.write_bytes(out.getvalue())
    return path


def _write_zeros(archive: zipfile.ZipFile, out: io.BytesIO, names: Sequence[str]) -> None:
    """Compressed once, which takes a second, and from then on copied with another name."""
    begin = out.tell()
    archive.writestr(zipfile.ZipInfo(names[0]), bytes(1 << 28), zipfile.ZIP_DEFLATED)
    first, written = archive.filelist[-1], out.getvalue()[begin:]
    for name in names[1:]:
        entry = copy.copy(first)
        entry.filename, entry.header_offset = name, out.tell()
        out.write(written.replace(names[0].encode(), name.encode(), 1))
        archive.filelist.append(entry)
    archive.start_dir = out.tell()


class EvilIndex:
    """Serves files on loopback. manners: package -> how it is served; `sent`: bytes that went out."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.manners: dict[str, Manner] = {}
        self.sent = 0
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/simple"

    def add(self, path: Path, manner: Manner = "fine") -> None:
        """A distribution, under its own file name."""
        self.files[path.name] = path.read_bytes()
        self.manners[path.name.split("-")[0]] = manner

    @contextmanager
    def serving(self) -> Iterator[EvilIndex]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                parts = [part for part in self.path.split("/") if part]
                if parts[:1] == ["simple"] and len(parts) == 2:
                    self._page(parts[1].replace("-", "_"))
                elif self.path.endswith(".metadata"):
                    name = parts[-1].split("-")[0]
                    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
                    self._head(len(text))
                    self._write(text)
                elif parts[:1] == ["files"] and len(parts) == 2 and parts[1] in index.files:
                    self._file(parts[1])
                else:
                    self.send_error(404)

            def _page(self, name: str) -> None:
                files = [one for one in index.files if one.split("-")[0] == name]
                if not files:
                    return self.send_error(404)
                metadata = ' data-dist-info-metadata="true"' if index.manners[name] == "endless" else ""
                links = (f'<a href="/files/{one}{index.fragment(one)}"{metadata}>{one}</a>\n' for one in files)
                page = "".join(links).encode()
                self._head(len(page))
                self._write(page)
                return None

            def _file(self, name: str) -> None:
                content, manner = index.files[name], index.manners[name.split("-")[0]]
                if manner == "deaf":
                    index.closing.wait(600)
                    return
                if manner == "endless":
                    self._head(1 << 50)
                    self._endless()
                    return
                self._head(len(content))
                self._write(content[: len(content) // 2] if manner == "cut" else content)
                self.close_connection = True

            def _endless(self) -> None:
                """A wheel whose only member is four gigabytes of zeros, and then another of these."""
                size, name = 0xFFFF_FF00, b"endless.bin"
                header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, size, size, len(name), 0) + name
                while self._write(header):
                    left = size
                    while left and self._write(bytes(min(left, 1 << 20))):
                        left -= min(left, 1 << 20)

            def _head(self, length: int) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if "/simple/" in self.path else "application/zip")
                self.send_header("Content-Length", str(length))
                self.end_headers()

            def _write(self, data: bytes) -> bool:
                if self.command == "HEAD" or index.closing.is_set():
                    return False
                try:
                    self.wfile.write(data)
                except OSError:
                    return False
                index.sent += len(data)
                time.sleep(0)
                return True

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler

    def fragment(self, name: str) -> str:
        """What the page says of a file's hash."""
        manner = self.manners[name.split("-")[0]]
        if manner == "none":
            return ""
        digest = "0" * 64 if manner == "wrong" else hashlib.sha256(self.files[name]).hexdigest()
        return f"#sha256={digest}"
