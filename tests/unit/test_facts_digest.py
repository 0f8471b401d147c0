"""The code of manylab has one name, wherever it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

from manylab.model.environments import HUB, OWN_CODE, SERVER
from manylab.system import facts
from manylab.system.facts import LAUNCHER_KEPT, PACKAGE, source_digest


def installed(folder: Path) -> Path:
    """As it stands in an environment: byte code beside it, and the launcher kept inside."""
    package = folder / "lib/python3.11/site-packages/manylab"
    shutil.copytree(PACKAGE, package)
    (package / "cli/__pycache__").mkdir(exist_ok=True)
    (package / "cli/__pycache__/main.cpython-311.pyc").write_bytes(b"byte code")
    (package / LAUNCHER_KEPT).write_text(facts.launcher(), encoding="utf-8")
    return package


def test_the_command_in_an_environment_is_the_same_as_that_of_the_checkout(tmp_path):
    package = installed(tmp_path)
    for parts in OWN_CODE.values():
        assert source_digest(package, parts) == source_digest(PACKAGE, parts)


def test_other_code_and_another_launcher_have_another_name(tmp_path):
    before = {name: source_digest(PACKAGE, parts) for name, parts in OWN_CODE.items()}
    package = installed(tmp_path / "a")
    (package / "apply/site.py").write_text("another = True\n")
    assert source_digest(package, OWN_CODE[HUB]) != before[HUB]
    assert source_digest(package, OWN_CODE[SERVER]) == before[SERVER]
    package = installed(tmp_path / "b")
    (package / LAUNCHER_KEPT).write_text("#!/bin/sh\n")
    assert source_digest(package, OWN_CODE[HUB]) != before[HUB]
    package = installed(tmp_path / "c")
    (package / "lab/new.py").write_text("")
    assert source_digest(package, OWN_CODE[SERVER]) != before[SERVER]
