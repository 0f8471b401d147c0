"""What the server assumes of a kernel that is not its own program: where it comes from, and how it can be spoken to.

Jupyter takes a spec's `python` for the interpreter of the server, and one transport for all kernels. Here the server
has an environment of its own, with nothing of people's in it, and its kernels can be any program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from manylab.lab import config

_IPYKERNEL: Final = frozenset({"ipykernel", "ipykernel_launcher"})
_PYTHON: Final = re.compile(r"python(?:\d+(?:\.\d+)?)?")
_PATH: Final = re.compile(rb"(?:^|\n)PATH=([^\n]*)$")
# Seconds for a person's shell to read its profile.
_PROFILE: Final = 10.0


def transport(spec: Any, environ: Mapping[str, str]) -> str:
    """How a kernel of this spec is spoken to: "ipc" where it is known to take that, "tcp" as everywhere else.

    Known: ipykernel, run by a Python itself (what a script of that name runs may be in a container, or on another
    machine), and specs that say so: `"metadata": {"manylab": {"transport": "ipc"}}`.
    """
    said = spec.metadata.get("manylab")
    wish = said.get("transport") if isinstance(said, dict) else None
    knows = wish == "ipc" if wish in ("ipc", "tcp") else _is_ipykernel(spec.argv, prefix_of(spec.resource_dir))
    return config.transport(environ) if knows else "tcp"


def _is_ipykernel(argv: Sequence[str], prefix: Path | None) -> bool:
    program = beside(argv[0], prefix) or argv[0]
    return runs_ipykernel(argv) and _is_program(program)


def runs_ipykernel(argv: Sequence[str]) -> bool:
    """Whether it is `python [options] -m ipykernel_launcher ...`. Pure."""
    if not argv or not _PYTHON.fullmatch(Path(argv[0]).name):
        return False
    words = iter(argv[1:])
    for word in words:
        if word == "-m":
            return next(words, "") in _IPYKERNEL
        if word in ("-X", "-W"):
            next(words, "")
        elif not word.startswith("-") or word == "-c":
            return False
    return False


def _is_program(path: str) -> bool:
    """Whether the file is compiled, rather than a script that runs something somewhere."""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        return file.read(4) == b"\x7fELF"
    return False


def prefix_of(resource_dir: str) -> Path | None:
    """The folder that a spec was installed into: PREFIX of PREFIX/share/jupyter/kernels/NAME; None for others."""
    folder = Path(os.path.realpath(resource_dir))
    return folder.parents[3] if folder.parts[-4:-1] == ("share", "jupyter", "kernels") else None


def beside(program: str, prefix: Path | None) -> str | None:
    """The program of that name that was installed with a spec; None where there is none."""
    if prefix is None or "/" in program:
        return None
    return shutil.which(program, path=str(prefix / "bin"))


async def find(program: str, prefix: Path | None, environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """A kernel's program, and the PATH that it was found on: what was installed with the spec, else what a terminal
    would run. (None, None): there is no such program.
    """
    if "/" in program:
        return (program if shutil.which(os.path.expanduser(program)) else None), None  # noqa: PTH111 - as jupyter_client
    if found := beside(program, prefix):
        return found, None
    path = await terminal_path(environ)
    # A `python` that is called python3 on Debian.
    names = [program, "python3"] if program == "python" else [program]
    return next(((found, path) for name in names if (found := shutil.which(name, path=path))), (None, None))


async def terminal_path(environ: Mapping[str, str]) -> str:
    """PATH in a new terminal of this person; that of this process where their shell does not get to say it."""
    shell = config.shell(environ)
    # A leading "-" makes it a login shell, as login(1) does; every shell knows that. What a profile prints comes first.
    argv = [f"-{Path(shell).name}", "-i", "-c", "exec /usr/bin/env -0"]
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            *argv,
            executable=shell,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _PROFILE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
        if (path := path_in(said)) is not None:
            return path
    return environ.get("PATH", os.defpath)


def path_in(said: bytes) -> str | None:
    """PATH in the output of `env -0`, after whatever else was printed. Pure."""
    for item in reversed(said.split(b"\0")):
        if match := _PATH.search(item):
            return os.fsdecode(match[1])
    return None
