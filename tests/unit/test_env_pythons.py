"""A Python that the machine does not have is downloaded, checked, and named before it is there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from manylab.base.errors import DownloadFailed, Unsupported
from manylab.model import environments
from manylab.model.facts import Facts, Python
from manylab.system.environments import pythons

FACTS = Facts(
    system=True, person="", home="/root", service="", systemd_runs=False, source_digest={},
    pythons=(Python("/usr/bin/python3", "3.11.2"),), downloads="/opt/manylab/pythons",
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (">=3.10", "/usr/bin/python3"),
        ("==3.12.*", "/opt/manylab/pythons/cpython-3.12-linux-x86_64-gnu/bin/python3.12"),
        (">=3.12", "/opt/manylab/pythons/cpython-3.14-linux-x86_64-gnu/bin/python3.14"),
        ("==3.12.7", "/opt/manylab/pythons/cpython-3.12.7-linux-x86_64-gnu/bin/python3.12"),
        (">=3.12,<3.12.5", "/opt/manylab/pythons/cpython-3.12.4-linux-x86_64-gnu/bin/python3.12"),
    ],
)
def test_the_machine_s_own_goes_first(wanted, path):
    found = environments._fitting("course", wanted, FACTS)
    assert found.path == path
    assert path.endswith(found.minor) or path == "/usr/bin/python3"


@pytest.mark.parametrize("wanted", ["==3.9.*", ">=4"])
def test_what_nobody_has_is_refused(wanted):
    with pytest.raises(Unsupported, match=r"this machine has 3\.11\.2"):
        environments._fitting("course", wanted, FACTS)
    with pytest.raises(Unsupported):
        environments._fitting("course", "==3.12.*", dataclasses.replace(FACTS, downloads=""))


def archive(folder: Path) -> Path:
    """A Python as uv expects one: its program (for this test the machine's own), and what it was compiled with."""
    data = next(
        Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})).glob("_sysconfigdata__*.py")
    )
    program = f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" "$@"\n'.encode()
    name = f"_sysconfigdata__linux_{os.uname().machine}-linux-gnu.py"
    path = folder / "python.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for inside, content in {"bin/python3.13": program, f"lib/python3.13/{name}": data.read_bytes()}.items():
            member = tarfile.TarInfo(f"python/{inside}")
            member.size, member.mode = len(content), 0o700
            out.addfile(member, io.BytesIO(content))
    return path


def offered(folder: Path, digest: str = "") -> dict[str, str]:
    """The network of somebody whose uv knows of that one Python."""
    made = archive(folder)
    family = os.uname().machine
    said = {
        "name": "cpython", "arch": {"family": family, "variant": None}, "os": "linux", "libc": "gnu",
        "major": 3, "minor": 13, "patch": 9, "prerelease": "", "url": made.as_uri(), "variant": None,
        "sha256": digest or hashlib.sha256(made.read_bytes()).hexdigest(), "build": "20260101",
    }  # fmt: skip
    listed = folder / "downloads.json"
    listed.write_text(json.dumps({f"cpython-3.13.9-linux-{family}-gnu": said}))
    return {"UV_PYTHON_DOWNLOADS_JSON_URL": str(listed)}


def wanted(folder: Path) -> str:
    return f"{folder}/pythons/cpython-3.13-linux-{os.uname().machine}-gnu/bin/python3.13"


def ensure(folder: Path, network: dict[str, str]) -> list[str]:
    said: list[str] = []
    place = folder / "pythons"
    pythons.ensure(wanted(folder), folder=place, cache=folder / "cache", network=network, say=said.append)
    return said


def test_it_is_downloaded_once_and_everybody_can_run_it(tmp_path):
    network = offered(tmp_path)
    assert "downloading Python 3.13" in ensure(tmp_path, network)
    path = Path(wanted(tmp_path))
    assert path.resolve().stat().st_mode & 0o777 == 0o755
    assert ensure(tmp_path, {"UV_PYTHON_DOWNLOADS_JSON_URL": "/nowhere"}) == []


def test_one_that_is_not_what_it_should_be_is_refused_and_the_ways_out_are_told(tmp_path):
    with pytest.raises(DownloadFailed, match="Hash mismatch") as failure:
        ensure(tmp_path, offered(tmp_path, digest="0" * 64))
    assert "UV_PYTHON_INSTALL_MIRROR" in failure.value.hint and "conda" in failure.value.hint
    assert not Path(wanted(tmp_path)).exists()


def test_one_of_the_machine_is_left_alone(tmp_path):
    pythons.ensure("/usr/bin/python3", folder=tmp_path / "pythons", cache=tmp_path, network={}, say=print)
    assert list(tmp_path.iterdir()) == []
