"""The pip part of a conda environment: locked with hashes, to what conda brings, by uv, as wheels only."""

from __future__ import annotations

import dataclasses
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manylab.base.errors import EnvironmentFailed
from manylab.model.conda_lock import parse
from support.channel import PYTHON, Channel, Package, Server, module, stand_in_python
from support.conda_site import CondaSite, python_says, versions, wheel


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def conda(tmp_path: Path, wheels: Path) -> Iterator[CondaSite]:
    channel = Channel(tmp_path / "channel")
    channel.add(stand_in_python())
    channel.add(module("arrays", "2.1"))
    with Server(channel).running() as server:
        yield CondaSite(tmp_path / "site", (server.url,), pip=("--no-index", "--find-links", str(wheels)))


def test_the_pip_part_is_locked_with_hashes_and_installed_beside_what_conda_brings(conda, wheels):
    wheel(wheels, "pictures", "1.0", requires=("arrays>=2", "tiny"))
    wheel(wheels, "tiny", "0.3")
    lock = conda.solve("arrays", pip=("pictures",))
    pip = parse(lock).pip
    assert [line.split()[0] for line in pip if "==" in line] == ["pictures==1.0", "tiny==0.3"]
    assert sum("--hash=sha256:" in line for line in pip) == 2
    code = "import arrays, pictures, tiny; print(arrays.version, pictures.version, tiny.version)"
    assert python_says(conda.build(lock), code) == "2.1 1.0 0.3"


def test_the_pip_part_keeps_to_the_versions_that_conda_brings(conda, wheels):
    for version in ("2.1", "3.0"):
        wheel(wheels, "arrays", version)
    wheel(wheels, "pictures", "1.0", requires=("arrays>=2",))
    wheel(wheels, "pictures", "2.0", requires=("arrays>=3",))
    lock = conda.solve("arrays", pip=("pictures",))
    assert [line.split()[0] for line in parse(lock).pip if "==" in line] == ["pictures==1.0"]
    assert python_says(conda.build(lock), "import arrays; print(arrays.version)") == "2.1"


def test_an_earlier_pip_part_is_kept_to(conda, wheels):
    wheel(wheels, "pictures", "1.0")
    earlier = conda.solve("arrays", pip=("pictures",))
    wheel(wheels, "pictures", "2.0")
    assert parse(conda.solve("arrays", pip=("pictures",), prefer=earlier)).pip == parse(earlier).pip


def test_a_wheel_that_is_not_the_one_of_the_lock_is_refused(conda, wheels, tmp_path):
    wheel(wheels, "pictures", "1.0")
    lock = conda.solve("arrays", pip=("pictures",))
    wheel(wheels, "pictures", "1.0", code="print('somebody else was here')\n")
    elsewhere = CondaSite(tmp_path / "another site", conda.channels, pip=conda.pip)
    with pytest.raises(EnvironmentFailed, match=r"[Hh]ash"):
        elsewhere.build(lock)


def test_a_pip_part_that_cannot_be_had_is_answered_with_the_reason(conda):
    with pytest.raises(EnvironmentFailed, match="nowhere"):
        conda.solve("arrays", pip=("nowhere",))


def test_an_environment_without_pip_part_does_not_ask_uv(conda):
    lock = conda.solve("arrays")
    conda.build(lock)
    assert "arrays" in versions(lock) and conda.uv_asked == []


def test_neither_conda_s_python_nor_what_it_would_run_at_its_start_is_run_for_the_pip_part(tmp_path, wheels):
    """Whoever builds may be root, and both are packages."""
    ran = tmp_path / "ran"
    python = stand_in_python()
    script = f"bin/python{PYTHON}"
    bad = f"#!/bin/bash\necho program >> {ran}\n".encode() + python.files[script].partition(b"\n")[2]
    channel = Channel(tmp_path / "channel")
    channel.add(dataclasses.replace(python, files={**python.files, script: bad}))
    hook = f"import os; open({str(ran)!r}, 'a').write('pth')\n".encode()
    channel.add(Package("hook", files={f"lib/python{PYTHON}/site-packages/hook.pth": hook}, depends=("python",)))
    wheel(wheels, "pictures", "1.0")
    with Server(channel).running() as server:
        conda = CondaSite(tmp_path / "site", (server.url,), pip=("--no-index", "--find-links", str(wheels)))
        prefix = conda.build(conda.solve("hook", pip=("pictures",)))
    assert not ran.exists()
    packages = prefix / f"lib/python{PYTHON}/site-packages"
    assert (packages / "pictures.py").exists() and (packages / "pictures-1.0.dist-info/INSTALLER").read_text() == "uv"


def test_a_program_of_the_pip_part_is_run_by_the_environment_s_python(conda, wheels):
    made = wheel(wheels, "pictures", "1.0", code="def main():\n    import sys; print(sys.prefix)\n")
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("pictures-1.0.dist-info/entry_points.txt", "[console_scripts]\npictures = pictures:main\n")
    prefix = conda.build(conda.solve("arrays", pip=("pictures",)))
    assert (prefix / "bin/pictures").read_text().startswith(f"#!{prefix}/bin/python")
    assert subprocess.run([prefix / "bin/pictures"], capture_output=True, text=True).stdout.strip()
