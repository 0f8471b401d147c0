"""From a person and the settings to a process that becomes their server, warm or cold."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from manylab.base import names
from manylab.base.limits import LIMITS, Limits
from manylab.warden.accounts import Person
from manylab.warden.messages import Reason, Refusal, Start
from manylab.warden.nursery import Nursery
from manylab.warden.processes import MARKER
from manylab.warden.sessions import Traits, home_is_silent
from manylab.warden.settings import Settings
from manylab.warden.talk import Silent, Talk
from manylab.warm import wire

# What a failing start may say about itself to the hub.
_CHILD_REASONS: Final[dict[str, Reason]] = {
    "no-home": "no-home",
    "home-closed": "home-closed",
    "system-account": "system-account",
}
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PID: Final = 10.0  # seconds for a nursery to fork
_SENTENCE: Final = 300  # characters
_BECAME: Final = 30.0  # seconds for a child to become a server; a home on a slow network file system takes its time


class NoServer(Exception):
    """This process will not be a server, and why; not the fault of the person or the site: a cold start may do."""


@dataclass(frozen=True)
class Plan:
    """Everything about one start. order: for the child only, with the token in it. scope: its name under
    systemd. configured: for the registry.
    """

    order: Mapping[str, Any]
    socket: Path
    scope: str
    marker: str
    limits: Limits
    configured: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Seat:
    """A process that waits for its order. process: our own child (cold). nursery: whose child it is (warm)."""

    pid: int
    talk: Talk
    process: subprocess.Popen[bytes] | None = None
    nursery: Nursery | None = None


def plan(
    message: Start,
    person: Person,
    settings: Settings,
    folder: Path,
    private: Path | None,
    limits: Limits,
    processes: int | None,
    files: int,
    traits: Traits,
) -> Plan:
    """What to tell the child. Pure, but for the random mark of this start.

    private: the person's folder for /tmp and its like. processes: most of them, where no cgroup holds that. files: how
    many a program may have open here unless it asks for more. traits: of its PAM session.
    """
    name = names.server_folder(message.server)
    runtime = folder / name
    marker = secrets.token_hex(8)
    # Later wins: what the hub may say, what PAM says of the account, what root decided, who this is.
    environment = {
        "LANG": "C.UTF-8",
        **_said_by_hub(message.env, traits.environment),
        **traits.environment,
        **settings.environment,
        "HOME": person.home,
        "USER": person.name,
        "LOGNAME": person.name,
        "SHELL": person.shell or "/bin/sh",
        "PATH": path(settings.path, traits.environment.get("PATH", "")),
        "MANYLAB_SOCKET": str(runtime / "server.sock"),
        MARKER: marker,
    }
    if settings.nursery_run is not None:
        environment["MANYLAB_KERNELS"] = str(settings.nursery_run)
    order = {
        "uid": person.uid,
        "gid": person.gid,
        "groups": sorted({*person.groups, *traits.groups}),
        "home": person.home,
        "folder": str(folder),
        "name": name,
        "command": list(settings.command),
        "entry": settings.entry,
        "env": environment,
        "private": None if private is None else str(private),
        "processes": processes,
        "files": files,
        "umask": traits.umask,
        "limits": {name: list(pair) for name, pair in traits.limits.items()},
        "nice": traits.nice,
        "no_new_privileges": traits.no_new_privileges,
    }
    scope = f"manylab-server-{names.folder(person.name)}-{name}-{marker[:8]}.scope"
    configured = {**settings.configured, LIMITS: asdict(limits)}
    return Plan(order, runtime / "server.sock", scope, marker, limits, configured)


def _said_by_hub(env: Mapping[str, str], of_session: Mapping[str, str]) -> dict[str, str]:
    """The hub's language is its own service's: the session's, where it has one, is the person's in all its parts."""
    if not any(_is_locale(name) for name in of_session):
        return dict(env)
    return {name: value for name, value in env.items() if not _is_locale(name)}


def _is_locale(name: str) -> bool:
    return name in ("LANG", "LANGUAGE") or name.startswith("LC_")


def path(ours: Sequence[str], of_session: str) -> str:
    """PATH: the site's own environment, what the session has, and then what is missing of the site's. Pure."""
    theirs = [folder for folder in of_session.split(":") if folder.startswith("/")]
    return ":".join(dict.fromkeys([*ours[:1], *theirs, *ours[1:]]))


async def warm(nursery: Nursery) -> Seat:
    """A child of the nursery. Raises NoServer."""
    if (connection := nursery.connect()) is None:
        raise NoServer("the nursery does not answer")
    talk = Talk(connection)
    said: Mapping[str, Any] = {}
    try:
        said = await talk.object(_PID)
        pid = int(said["pid"])
    except (Silent, KeyError, TypeError, ValueError):
        talk.close()
        why = str(said.get("message", "it says nothing"))[:_SENTENCE]
        raise NoServer(f"the nursery gave no child: {why}") from None
    nursery.expect(pid)
    return Seat(pid, talk, nursery=nursery)


def cold(settings: Settings, output: int | None) -> Seat:
    """A new interpreter; fork and exec at once. output: its log. Not an asyncio process: those die with the loop."""
    ours, theirs = socket.socketpair()
    try:
        child = subprocess.Popen(
            (str(settings.python), "-I", "-m", "manylab.warden.child"),
            stdin=theirs.fileno(),
            # 2 is the journal's socket under systemd. Elsewhere it may be a pipe that breaks one day: hence log_dir.
            stdout=2 if output is None else output,
            stderr=2 if output is None else output,
            env={"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8"},
            cwd="/",
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Seat(child.pid, Talk(ours), process=child)


async def give(seat: Seat, order: Mapping[str, Any], output: int | None) -> None:
    """Give the order and wait until the process is the person's. Raises Refusal, or NoServer for a warm one."""
    entering = False
    try:
        # A process that ended already may have said why: that is read in any case.
        with contextlib.suppress(Silent):
            await seat.talk.send(dict(order), () if seat.nursery is None else (2 if output is None else output,))
        said = await seat.talk.object(_BECAME)
        if "entering" in said:
            entering = True
            said = await seat.talk.object(_BECAME)
    except Silent as silent:
        if entering and str(silent) != "closed":
            raise home_is_silent(order["home"]) from None
        sentence = f"the server's process ended, or did not become the person in time ({silent})"
        if seat.nursery is not None:
            raise NoServer(sentence) from None
        raise Refusal("start-failed", f"the server could not be started: {sentence}") from None
    if said.get("became") is True:
        return
    reason = _CHILD_REASONS.get(str(said.get("reason")), "start-failed")
    message = str(said.get("message", "its process said something unknown"))
    if seat.nursery is not None and reason == "start-failed":
        raise NoServer(message)
    raise Refusal(reason, message)


async def answers(seat: Seat, seconds: float) -> str | None:
    """None when the server says, within this time, that one can connect; else what it said instead, or "".

    What is said here comes from a process of the person's, and is told to nobody else.
    """
    try:
        said = await seat.talk.line(seconds)
        return None if said == wire.READY else str(json.loads(said)["message"])[:_SENTENCE]
    except (Silent, ValueError, KeyError, TypeError, RecursionError):
        return ""
    finally:
        seat.talk.close()
