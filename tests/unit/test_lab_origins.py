"""Where a person's kernels come from, and how they are spoken to."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyter_client")

from manylab.lab import origins

RUNTIME = {"JUPYTER_RUNTIME_DIR": "/run/short"}
LAUNCH = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
REAL = str(Path(sys.executable).resolve())


def spec(*argv: str, folder: str = "/home/bob/.local/share/jupyter/kernels/x", **metadata: object) -> SimpleNamespace:
    return SimpleNamespace(argv=list(argv), resource_dir=folder, metadata=metadata)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/x/python3.11", "-Xfrozen_modules=off", *LAUNCH], True),
        (["python", "-X", "dev", "-m", "ipykernel", "-f", "x"], True),
        (["/x/deno", "jupyter", "--kernel", "--conn", "{connection_file}"], False),
        (["docker", "run", "image", "python", *LAUNCH], False),
        (["ssh", "host", "python3", *LAUNCH], False),
        (["conda", "run", "-n", "x", "python", *LAUNCH], False),
        (["/x/python", "-m", "bash_kernel", "-f", "x"], False),
        (["/x/python", "-c", "-m", "ipykernel_launcher"], False),
        (["/x/python", "wrapper.py", *LAUNCH], False),
    ],
)
def test_only_ipykernel_is_known_to_take_unix_sockets(argv, expected):
    assert origins.runs_ipykernel(argv) is expected


def test_a_script_in_the_place_of_python_gets_tcp(tmp_path):
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nexec apptainer exec image python "$@"\n')
    assert origins.transport(spec(REAL, *LAUNCH), RUNTIME) == "ipc"
    assert origins.transport(spec(str(script), *LAUNCH), RUNTIME) == "tcp"
    assert origins.transport(spec("python", *LAUNCH), RUNTIME) == "tcp"


def test_a_spec_can_say_what_its_kernel_takes():
    assert origins.transport(spec("/x/ark", manylab={"transport": "ipc"}), RUNTIME) == "ipc"
    assert origins.transport(spec(REAL, *LAUNCH, manylab={"transport": "tcp"}), RUNTIME) == "tcp"
    assert origins.transport(spec("/x/ark", manylab="odd"), RUNTIME) == "tcp"


def test_a_program_is_looked_for_beside_its_spec_first(tmp_path):
    program = tmp_path / "env/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    folder = tmp_path / "env/share/jupyter/kernels/octave"
    folder.mkdir(parents=True)
    prefix = origins.prefix_of(str(folder))
    assert prefix == tmp_path / "env"
    assert asyncio.run(origins.find("python", prefix, {})) == (str(program), None)
    (tmp_path / "link").symlink_to(folder)
    assert origins.prefix_of(str(tmp_path / "link")) == prefix
    assert origins.prefix_of("/home/bob/kernels/x") is None


def test_else_a_terminals_path_is_searched(tmp_path):
    own = tmp_path / "own/bin"
    own.mkdir(parents=True)
    for name in ("python3", "ark"):
        (own / name).write_text("")
        (own / name).chmod(0o755)
    (tmp_path / ".profile").write_text(f"echo hello; PATH={own}; export PATH\n")
    environ = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    assert asyncio.run(origins.find("ark", None, environ)) == (str(own / "ark"), str(own))
    assert asyncio.run(origins.find("python", None, environ))[0] == str(own / "python3")
    assert asyncio.run(origins.find("nosuch", None, environ)) == (None, None)
    assert asyncio.run(origins.find("/no/such", None, environ)) == (None, None)


def test_a_profile_that_hangs_or_fails_leaves_the_servers_path(tmp_path, monkeypatch):
    monkeypatch.setattr(origins, "_PROFILE", 0.5)
    environ = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for text in ("sleep 60 & sleep 60\n", "exit 3\n"):
        (tmp_path / ".profile").write_text(text)
        assert asyncio.run(origins.terminal_path(environ)) == "/usr/bin:/bin"


def test_what_a_profile_prints_is_not_taken_for_variables():
    assert origins.path_in(b"welcome\nPATH=/a:/b\0HOME=/x\0") == "/a:/b"
    assert origins.path_in(b"HOME=/x\0OTHER=1\nPATH is long\0") is None
    assert origins.path_in(b"") is None
