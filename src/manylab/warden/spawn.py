"""From a person and the settings to a running server: the order, the command line, and what the child said."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from manylab.base import names
from manylab.warden.accounts import Person
from manylab.warden.child import ABOUT_TO
from manylab.warden.messages import Refusal, Start
from manylab.warden.processes import MARKER
from manylab.warden.settings import Settings

_LISTEN: Final = 16 * 1024  # bytes of what a failing start may say
# What a failing start may say about itself to the hub.
_CHILD_REASONS: Final = ("no-home", "start-failed", "system-account")
_OOM_POLICY: Final = 252  # tried with this version of systemd; older ones know the property for services only
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Plan:
    """Everything about one start. order: for the child only, with the token in it."""

    argv: tuple[str, ...]
    order: Mapping[str, Any]
    socket: Path
    scope: str | None
    marker: str


def plan(message: Start, person: Person, settings: Settings, folder: Path, systemd: int = 0) -> Plan:
    """How to start this server. Pure, but for the random mark of this start. systemd: its version."""
    name = names.server_folder(message.server)
    runtime = folder / name
    socket = runtime / "server.sock"
    marker = secrets.token_hex(8)
    # Later wins: what the hub may say, what root decided, who this is.
    environment = {
        "LANG": "C.UTF-8",
        **message.env,
        **settings.environment,
        "HOME": person.home,
        "USER": person.name,
        "LOGNAME": person.name,
        "SHELL": person.shell or "/bin/sh",
        "PATH": ":".join(settings.path),
        "JUPYTER_RUNTIME_DIR": str(runtime / "jupyter"),
        "MANYLAB_SOCKET": str(socket),
        MARKER: marker,
    }
    order = {
        "uid": person.uid,
        "gid": person.gid,
        "groups": list(person.groups),
        "home": person.home,
        "folder": str(folder),
        "name": name,
        "command": list(settings.command),
        "env": environment,
        "memory": settings.memory,
        "cpu": settings.cpu,
        "tasks": settings.tasks,
    }
    child = (str(settings.python), "-I", "-m", "manylab.warden.child")
    if settings.scopes is None:
        return Plan(child, order, socket, None, marker)
    scope = f"manylab-server-{person.name}-{name}-{marker[:8]}.scope"
    return Plan((*scope_command(scope, person.name, settings, systemd), *child), order, socket, scope, marker)


def scope_command(scope: str, person: str, settings: Settings, systemd: int) -> tuple[str, ...]:
    """systemd-run: the unit exists before the program runs, and the program keeps the pid (--scope)."""
    limits = [f"--property=MemoryMax={settings.memory}"] if settings.memory else []
    limits += [f"--property=CPUQuota={round(settings.cpu * 100)}%"] if settings.cpu else []
    limits += [f"--property=TasksMax={settings.tasks}"] if settings.tasks else []
    # A kernel that used up the memory is ended; without this the whole server would be, with every other notebook.
    limits += ["--property=OOMPolicy=continue"] if systemd >= _OOM_POLICY else []
    place = [f"--slice={settings.slice}"] if settings.slice else []
    return (
        *("systemd-run", "--scope", "--quiet", "--collect", f"--unit={scope}", *place, *limits),
        *("--property=TimeoutStopSec=5s", f"--description=manylab server of {person}", "--"),
    )


def systemd_version() -> int:
    """The version of systemd, 0 when it cannot be told. Blocks."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False)
        return int(done.stdout.split()[1])  # "systemd 252 (252.39-1~deb12u2)"
    return 0


def launch(plan: Plan, log: int | None) -> subprocess.Popen[bytes]:
    """The child, which waits for its order; fork and exec at once. Not an asyncio process: those die with the loop."""
    return subprocess.Popen(
        plan.argv,
        stdin=subprocess.PIPE,
        # 2 is the journal's socket under systemd. Elsewhere it may be a pipe that breaks one day: set log_dir there.
        stdout=2 if log is None else log,
        stderr=subprocess.PIPE,
        env={"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )


def converse(process: subprocess.Popen[bytes], order: Mapping[str, Any]) -> str:
    """Give the child its order and hear it out. Blocks until it is the server or has failed: run in a thread."""
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
        said = bytearray()
        # Read to the end even when it says too much, or it would wait for ever.
        while data := os.read(process.stderr.fileno(), 4096):
            said += data[: _LISTEN - len(said)]
    return said.decode(errors="replace")


def judge(said: str) -> Refusal | None:
    """None when the server was reached, else why not. Pure."""
    lines = said.strip().splitlines()
    if lines and lines[-1] == ABOUT_TO:
        return None
    with contextlib.suppress(ValueError, AttributeError):
        answer = json.loads(lines[-1]) if lines else {}
        reason, message = answer.get("reason"), answer.get("message")
        if reason in _CHILD_REASONS and isinstance(message, str):
            return Refusal(reason, message)
    # Not the child's words, so those of systemd-run or of a Python that could not even import it.
    text = lines[-1][:300] if lines else "it ended without a word"
    return Refusal("start-failed", f"the server could not be started: {text}")
