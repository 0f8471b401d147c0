"""A real conda channel: packages on disk, repodata with hashes, served over loopback, and all that can go wrong.

Packing is done here, with the standard library alone, because the tests need packages that no packer would make.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import struct
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# As long as conda-build makes it, so that every prefix of people fits into binaries.
PLACEHOLDER = ("/opt/built_here" + "_placehold" * 25)[:255]
# The mode of every file in a package; None: what conda-build makes of it.
MODE: int | None = None
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass(frozen=True)
class Link:
    """A link inside a package; hard: to another member instead of to a path."""

    target: str
    hard: bool = False


@dataclass(frozen=True)
class Package:
    """What goes into one package. Files that contain PLACEHOLDER say so in paths.json, as conda-build does it.

    extra_paths: entries of paths.json that no packer would write. info: further files of info/.
    """

    name: str
    version: str = "1.0"
    build: str = "0"
    files: Mapping[str, bytes | Link] = field(default_factory=dict)
    depends: tuple[str, ...] = ()
    noarch: str = ""
    entry_points: tuple[str, ...] = ()
    extra_paths: tuple[Mapping[str, Any], ...] = ()
    info: Mapping[str, bytes] = field(default_factory=dict)
    subdir: str = "linux-64"
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The subdir that it stands in."""
        return "noarch" if self.noarch else self.subdir

    def index(self) -> dict[str, Any]:
        """info/index.json, which repodata repeats."""
        index = {
            "name": self.name, "version": self.version, "build": self.build, "build_number": 0,
            "depends": list(self.depends), "subdir": self.folder, **self.more,
        }  # fmt: skip
        return {**index, "noarch": self.noarch} if self.noarch else index

    def _paths(self) -> bytes:
        entries: list[Mapping[str, Any]] = []
        for path, content in self.files.items():
            if isinstance(content, Link):
                kind = "hardlink" if content.hard else "softlink"
                entries.append({"_path": path, "path_type": kind, "sha256": "0" * 64, "size_in_bytes": 0})
                continue
            entry = {
                "_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(content).hexdigest(),
                "size_in_bytes": len(content),
            }  # fmt: skip
            if PLACEHOLDER.encode() in content:
                entry["prefix_placeholder"] = PLACEHOLDER
                entry["file_mode"] = "binary" if b"\0" in content else "text"
            entries.append(entry)
        return json.dumps({"paths_version": 1, "paths": [*entries, *self.extra_paths]}).encode()

    def _info(self) -> dict[str, bytes | Link]:
        found: dict[str, bytes | Link] = {
            "info/index.json": json.dumps(self.index()).encode(),
            "info/paths.json": self._paths(),
            **self.info,
        }
        if self.noarch == "python":
            link = {"noarch": {"type": "python", "entry_points": list(self.entry_points)}}
            found["info/link.json"] = json.dumps({**link, "package_metadata_version": 1}).encode()
        return found

    def conda(self) -> bytes:
        """The package in the .conda format: a zip of two zstd tars."""
        stem = f"{self.name}-{self.version}-{self.build}"
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            archive.writestr(f"pkg-{stem}.tar.zst", zstd_frame(_tar(self.files)))
            archive.writestr(f"info-{stem}.tar.zst", zstd_frame(_tar(self._info())))
        return out.getvalue()

    def tar_bz2(self) -> bytes:
        """The package in the older format."""
        return bz2.compress(_tar({**self._info(), **self.files}))


def zstd_frame(data: bytes) -> bytes:
    """Data as a zstd frame of raw blocks (RFC 8878, 3.1.1): what needs no compressor."""
    blocks = [data[at : at + 0x20000] for at in range(0, len(data), 0x20000)] or [b""]
    out = [b"\x28\xb5\x2f\xfd\xe0", struct.pack("<Q", len(data))]
    for number, block in enumerate(blocks, 1):
        out += [struct.pack("<I", (len(block) << 3) | (number == len(blocks)))[:3], block]
    return b"".join(out)


def _tar(members: Mapping[str, bytes | Link]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, Link):
                member.type = tarfile.LNKTYPE if content.hard else tarfile.SYMTYPE
                member.linkname = content.target
                archive.addfile(member)
                continue
            member.size = len(content)
            member.mode = MODE or (0o775 if name.startswith(("bin/", "python-scripts/")) else 0o664)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def stand_in_python(version: str = f"{PYTHON}.99", *, real: Path | None = None, **more: Any) -> Package:
    """NOT conda's Python, which cannot be had without internet, but a stand-in.

    A script that runs an interpreter (`real`, or that of these tests) as if it stood in the prefix, as a venv does by
    pyvenv.cfg: it finds the prefix's modules and is told its own name.
    """
    real = real or Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    minor = ".".join(version.split(".")[:2])
    script = f'#!/bin/bash\nexec -a "{PLACEHOLDER}/bin/python{minor}" "{real}" "$@"\n'
    files: dict[str, bytes | Link] = {
        f"bin/python{minor}": script.encode(),
        "bin/python3": Link(f"python{minor}"),
        "bin/python": Link(f"python{minor}"),
        "pyvenv.cfg": f"home = {real.parent}\ninclude-system-site-packages = false\n".encode(),
        f"lib/python{minor}/site-packages/README.txt": b"packages go here\n",
    }
    return Package("python", version, files=files, **more)


def module(name: str, version: str = "1.0", *, code: str = "", **more: Any) -> Package:
    """A noarch package with one module of that name; by default it knows its version."""
    text = code or f"version = {version!r}\n\ndef main():\n    print({name!r}, version)\n"
    more.setdefault("depends", ("python",))
    return Package(name, version, files={f"site-packages/{name}.py": text.encode()}, noarch="python", **more)


class Channel:
    """A channel in a folder; repodata is written anew with every package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, dict[str, dict[str, Any]]] = {"linux-64": {}, "linux-aarch64": {}, "noarch": {}}
        self.write()

    def add(self, package: Package, *, old: bool = False, **record: Any) -> str:
        """Put a package into the channel, and return its path. record: what repodata says differently (None: not)."""
        data = package.tar_bz2() if old else package.conda()
        name = f"{package.name}-{package.version}-{package.build}{'.tar.bz2' if old else '.conda'}"
        path = self.folder / package.folder / name
        path.write_bytes(data)
        said = {
            **package.index(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "md5": hashlib.md5(data).hexdigest(),
            "size": len(data),
            **record,
        }
        self.records[package.folder][name] = {key: value for key, value in said.items() if value is not None}
        self.write()
        return f"{package.folder}/{name}"

    def write(self) -> None:
        """repodata.json of every subdir."""
        for subdir, records in self.records.items():
            (self.folder / subdir).mkdir(parents=True, exist_ok=True)
            data = {
                "info": {"subdir": subdir},
                "packages": {name: said for name, said in records.items() if name.endswith(".tar.bz2")},
                "packages.conda": {name: said for name, said in records.items() if name.endswith(".conda")},
                "removed": [],
                "repodata_version": 1,
            }
            (self.folder / subdir / "repodata.json").write_text(json.dumps(data))


@dataclass
class Fault:
    """What goes wrong with one path, the first `times` times that it is asked for.

    status: answered instead of the file. close_after: bytes after which the connection is closed. stall_after: bytes
    after which nothing more comes until the server ends. more: bytes that come after the file.
    """

    status: int = 200
    close_after: int | None = None
    stall_after: int | None = None
    more: bytes = b""
    damage: bool = False
    times: int = 1_000_000


class Server:
    """A channel served over loopback; `asked` lists every path that somebody asked for."""

    def __init__(self, channel: Channel) -> None:
        self.folder = channel.folder
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []
        self.ended = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                served.answer(self, with_body=False)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        """One answer, with the fault that this path has."""
        path = request.path.lstrip("/")
        self.asked.append(path)
        fault = self.faults.get(path, Fault())
        if fault.times <= 0:
            fault = Fault()
        elif path in self.faults:
            fault.times -= 1
        file = self.folder / path
        if fault.status != 200 or not file.is_file():
            request.send_error(fault.status if fault.status != 200 else 404)
            return
        data = file.read_bytes() + fault.more
        if fault.damage:
            data = data[:-1] + bytes([data[-1] ^ 1])
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if not with_body:
            return
        for limit in (fault.close_after, fault.stall_after):
            data = data if limit is None else data[:limit]
        request.wfile.write(data)
        request.wfile.flush()
        if fault.stall_after is not None:
            self.ended.wait(120)
        if fault.close_after is not None or fault.stall_after is not None:
            request.close_connection = True

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()
