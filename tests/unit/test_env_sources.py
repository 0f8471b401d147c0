"""What is published as source alone is built by somebody without power, where there is nothing to be had."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from manylab.base.errors import EnvironmentFailed
from manylab.model.facts import Python
from manylab.system.environments import installers, sources
from support.environment import Builder

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has a cage to put a package into")

# A backend of its own (PEP 517), so that nothing else is needed; what it saw is what its module says.
BACKEND = """
import json, os, socket, zipfile


def tried(what, *more):
    try:
        return bool(what(*more)) or True
    except OSError:
        return False


def build_wheel(folder, settings=None, metadata=None):
    saw = {
        "uid": os.getresuid(),
        "secret": os.environ.get("MANYLAB_TEST_SECRET"),
        "network": tried(socket.create_connection, ("127.0.0.1", PORT), 2),
        "root": os.listdir("/root"),
        "write": tried(open, "/usr/local/mine", "w"),
        "archive": tried(os.unlink, "ARCHIVE"),
    }
    DO
    name = "sourced-VERSION-py3-none-any.whl"
    info = "sourced-VERSION.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        archive.writestr("sourced.py", f"saw = {saw!r}\\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: sourced\\nVersion: VERSION\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", f"sourced.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n")
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Sources:
    """An index with sources of one package, and where what was built of them is kept."""

    def __init__(self, folder: Path) -> None:
        self.builder = Builder(folder)
        self.builder.cache.mkdir(mode=0o700)  # as a site's is
        self.page = folder / "index/sourced/index.html"
        self.page.parent.mkdir(parents=True)
        self.page.write_text("")
        self.store = folder / "store"
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        self.python = Python(str(Path(sys.base_prefix) / "bin/python3"), f"{minor}.0")

    def add(self, version: str = "1.0", *, do: str = "pass", port: int = 9, digest: str = "") -> None:
        archive = self.page.parent / f"sourced-{version}.tar.gz"
        code = BACKEND.replace("VERSION", version).replace("PORT", str(port)).replace("DO", do)
        code = code.replace("ARCHIVE", str(self.builder.folder / f"building/{archive.name}"))
        with tarfile.open(archive, "w:gz") as out:
            # Metadata of this version says nothing that could be relied upon without running it.
            metadata = f"Metadata-Version: 1.1\nName: sourced\nVersion: {version}\n"
            for name, text in (("PKG-INFO", metadata), ("pyproject.toml", PROJECT), ("backend.py", code)):
                member = tarfile.TarInfo(f"sourced-{version}/{name}")
                member.size = len(text.encode())
                out.addfile(member, io.BytesIO(text.encode()))
        digest = digest or hashlib.sha256(archive.read_bytes()).hexdigest()
        line = f'<a href="{archive.name}#sha256={digest}">{archive.name}</a>\n'
        self.page.write_text(self.page.read_text() + line)

    def make(self, requirement: str = "sourced", *, afresh: bool = False) -> list[str]:
        """Names of the wheels that are there afterwards."""
        sources.make_wheels(
            {"sourced": requirement},
            python=self.python,
            store=self.store,
            cache=self.builder.cache,
            network=self.builder.network,
            builder="nobody",
            say=self.builder.said.append,
            afresh=afresh,
        )
        return sorted(path.name for path in self.store.iterdir())


@pytest.fixture
def made(tmp_path) -> Sources:
    # pytest's folders are their owner's alone, and the account of the cage is somebody else.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    return Sources(tmp_path)


@as_root
def test_a_source_is_built_without_power_without_network_and_locked_by_its_hash(made, monkeypatch):
    monkeypatch.setenv("MANYLAB_TEST_SECRET", "hunter2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.add(port=server.getsockname()[1])
        assert made.make() == ["sourced-1.0-py3-none-any.whl"]
    network = sources.reachable(made.store, made.builder.network)
    lock = installers.solve(
        ["sourced"], prefer="", python=made.python.path, cache=made.builder.cache, network=network, say=print
    )
    digest = hashlib.sha256((made.store / "sourced-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert f"sourced==1.0 \\\n    --hash=sha256:{digest}" in lock
    saw: dict[str, object] = {}
    exec(zipfile.ZipFile(made.store / "sourced-1.0-py3-none-any.whl").read("sourced.py"), saw)
    assert saw["saw"] == {
        "uid": (65534, 65534, 65534), "secret": None, "network": False, "root": [], "write": False, "archive": False,
    }  # fmt: skip
    assert not (made.builder.folder / "building").exists()


def test_what_was_built_is_not_built_again_unless_something_newer_is_wanted(made):
    made.add()
    made.make()
    made.add("2.0")
    assert made.make("sourced>=1") == ["sourced-1.0-py3-none-any.whl"]
    assert made.make("sourced>=1", afresh=True) == ["sourced-1.0-py3-none-any.whl", "sourced-2.0-py3-none-any.whl"]
    assert made.make("sourced<2", afresh=True) == ["sourced-1.0-py3-none-any.whl", "sourced-2.0-py3-none-any.whl"]


LINKED = "name = 'sourced-1.0-py3-none-any.whl'; os.symlink('/etc/passwd', os.path.join(folder, name)); return name"
OTHER = "name = 'other-1.0-py3-none-any.whl'; open(os.path.join(folder, name), 'w'); return name"


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("raise SystemExit('no compiler here')", "no compiler here"),
        (LINKED, "no wheel"),
        (OTHER, "declares name other"),
    ],
    ids=["fails", "linked", "other"],
)
def test_what_does_not_come_out_as_that_package_is_refused_and_nothing_is_kept(made, do, said):
    made.add(do=do)
    with pytest.raises(EnvironmentFailed, match=said) as failure:
        made.make()
    assert failure.value.hint
    assert not made.store.exists() or list(made.store.iterdir()) == []
    assert not (made.builder.folder / "building").exists()


def test_a_source_that_is_not_what_the_index_promised_is_not_run(made, tmp_path):
    made.add(do=f"open({str(tmp_path / 'ran')!r}, 'w')", digest="0" * 64)
    with pytest.raises(EnvironmentFailed, match="another sha256"):
        made.make()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("by", ["name", "address"])
def test_without_being_named_a_package_without_a_wheel_is_refused_and_the_way_out_is_told(made, by):
    made.add()
    wanted = "sourced" if by == "name" else f"sourced @ {(made.page.parent / 'sourced-1.0.tar.gz').as_uri()}"
    with pytest.raises(EnvironmentFailed) as failure:
        installers.solve(
            *([wanted],), prefer="", python=made.python.path, cache=made.builder.cache,
            network=made.builder.network, say=print,
        )  # fmt: skip
    assert "envs.NAME.source" in failure.value.hint


def test_the_limits_of_packages_hold_for_what_is_built():
    found = sources.names(["Old_One", "other>=2"], ["old-one<3", "numpy"])
    assert found == {"old-one": "old-one<3", "other": "other>=2"}
    with pytest.raises(EnvironmentFailed, match="by its address"):
        sources.names(["other"], ["other @ https://example.org/other-1.0.tar.gz"])
