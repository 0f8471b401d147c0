"""What is the server's own is not in the environment that its kernels and terminals get."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from jupyter_core import paths

from manylab.lab import own

LAB = Path(own.__file__).parent
GIVEN = {
    "HOME": "/home/bob",
    "JUPYTERHUB_API_TOKEN": "t0ken",
    "JUPYTER_PATH": "/srv/kernels",
    "MANYLAB_JUPYTER_CONFIG_DIR": "/opt/manylab/etc/jupyter",
    "MANYLAB_JUPYTER_PATH": "/opt/manylab/share/jupyter",
    "MANYLAB_KERNELS": "/run/manylab/nursery",
    "MANYLAB_SERVER_ID": "7e8c",
    "MANYLAB_SOCKET": "/run/manylab/servers/bob/_/server.sock",
}


def test_what_a_server_starts_gets_what_is_the_persons_and_the_mark_of_the_server():
    server, theirs = own.separate(GIVEN)
    assert set(theirs) == {"HOME", "JUPYTERHUB_API_TOKEN", "JUPYTER_PATH", "MANYLAB_SERVER_ID"}
    assert theirs["JUPYTER_PATH"] == "/srv/kernels"
    assert server["JUPYTER_PATH"] == "/opt/manylab/share/jupyter"
    assert server["JUPYTER_RUNTIME_DIR"] == "/run/manylab/servers/bob/_/jupyter"
    assert server["MANYLAB_KERNELS"] == "/run/manylab/nursery"


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setattr(paths, "os", os)  # put back afterwards
    monkeypatch.setattr(own, "environ", {})
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/home/bob/config")


def test_jupyter_finds_the_servers_folders_and_what_it_starts_finds_the_persons(environment):
    own.use(own.separate(GIVEN)[0])
    assert paths.jupyter_config_dir() == "/opt/manylab/etc/jupyter"
    assert paths.jupyter_path("kernels")[0] == "/opt/manylab/share/jupyter/kernels"
    assert paths.jupyter_runtime_dir() == "/run/manylab/servers/bob/_/jupyter"
    assert os.environ["JUPYTER_CONFIG_DIR"] == "/home/bob/config"


def test_what_modules_set_for_themselves_is_taken_away_unless_it_is_the_persons(monkeypatch):
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    own.forget_what_imports_set({"GIT_PYTHON_REFRESH": "quiet"})
    assert os.environ["GIT_PYTHON_REFRESH"] == "quiet"
    own.forget_what_imports_set({})
    assert "GIT_PYTHON_REFRESH" not in os.environ


def test_the_servers_own_variables_are_read_where_they_are():
    """In os.environ they are not: a module that looks there finds nothing, without an error."""
    wrong = re.compile(r"os\.environ(?:\.get\(|\[)\s*[\"'](?:MANYLAB_|JUPYTER_|JUPYTERLAB_)")
    found = {file.name for file in LAB.glob("*.py") if wrong.search(file.read_text(encoding="utf-8"))}
    assert not found, f"{sorted(found)}: read own.environ"
