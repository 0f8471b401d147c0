"""Warden, proxy and hub as processes: running, enabled, and looking after every server there is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from manylab.base.errors import WardenUnavailable
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.cli.look import processes
from manylab.cli.look.parts import DEAD, Parts
from manylab.supervise.record import living_services, read_state, supervisors
from manylab.system.files import owner_name
from manylab.system.services.managers import manager_for
from manylab.system.warden_client import ask_sync
from manylab.warden.processes import MARKER

# A part that was started again so often since the site started does not merely have a bad day.
MANY_RESTARTS = 5


def judge_parts(parts: Parts) -> list[Finding]:
    """Pure."""
    if parts.code == DEAD:
        return [problem(f"the site is {parts.text}")]
    if not parts.running:
        return []
    found = [problem(f"the {part.name} is {part.state}") for part in parts.parts if not part.running]
    return found + [
        warning(f"the {part.name} was started again {part.restarts} times", f"sudo manylab logs {part.name}")
        for part in parts.parts
        if part.running and part.restarts >= MANY_RESTARTS
    ]


@check(
    "part-down",
    "Warden, proxy and hub run as they should",
    why=(
        "Without the hub nobody can sign in; without the proxy nobody reaches anything; without the warden no "
        "server starts."
    ),
    mend="sudo manylab logs; sudo manylab restart",
)
def part_down(scene: Scene) -> Iterator[Finding]:
    yield from judge_parts(scene.parts)


@check(
    "unsupervised",
    "Somebody looks after what runs",
    why=(
        "Parts that outlived their supervisor still serve, but nobody starts them again when they end, and they "
        "keep the port."
    ),
    mend="sudo manylab restart",
)
def unsupervised(scene: Scene) -> Iterator[Finding]:
    record = read_state(scene.layout.supervisor_run)
    if record is None or supervisors(record):
        return
    for who in living_services(record):
        yield problem(f"process {who.pid} of the site lives and its supervisor is gone")


@check(
    "not-at-boot",
    "The installed site starts at boot",
    why="After the next restart of the machine the site would stay down until somebody notices.",
    mend="sudo manylab enable",
)
def not_at_boot(scene: Scene) -> Iterator[Finding]:
    manager = manager_for(scene.installed.get("service", ""), scene.layout)
    if manager is None:
        raise Skip("the site is not installed as a service")
    if not manager.is_enabled("manylab"):
        yield warning("the service manylab is installed and not enabled")


@check(
    "warden-silent",
    "The warden answers",
    why="The warden checks passwords and starts servers: while it is silent nobody gets further than the sign-in page.",
    mend="sudo manylab logs warden; sudo manylab restart",
)
def warden_silent(scene: Scene) -> Iterator[Finding]:
    scene.need_running()
    try:
        answer = ask_sync(scene.layout.warden_socket, {"do": "list"}, 5.0)
    except WardenUnavailable as error:
        yield problem(error.message)
        return
    if not answer["ok"]:
        yield problem(f"the warden refuses to list servers: {answer.get('message', '')}")


def orphans(marks: Mapping[int, str], known: Collection[str]) -> list[int]:
    """Processes with a mark that is none of a known server's. marks: by pid, of every process with one. Pure."""
    return sorted(pid for pid, mark in marks.items() if mark not in known)


def _marks_of(registry: Path, servers: Iterable[int]) -> set[str]:
    """From the warden's notes: the environment that a warm server was forked with says nothing about it."""
    wanted, found = set(servers), set()
    for path in registry.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(path.read_text(encoding="utf-8"))
            found |= {str(note["marker"])} if note["pid"] in wanted else set()
    return found


@check(
    "server-orphaned",
    "Every process of a person's server belongs to a server that the warden knows",
    why="What a server left behind goes on using memory and processors, and nobody can stop it from the site.",
    mend="sudo kill PID",
)
def server_orphaned(scene: Scene) -> Iterator[Finding]:
    if scene.layout.system:
        scene.need_root()
    marks = {pid: mark for pid in processes.marked() if (mark := processes.environ(pid).get(MARKER))}
    if not marks:
        return
    if not scene.parts.running and scene.parts.code == DEAD:
        raise Skip("the site is dead; what runs cannot be told from what should (see part-down)")
    known = [int(one["pid"]) for one in scene.servers] if scene.parts.running else []
    for pid in orphans(marks, _marks_of(scene.layout.registry, known)):
        yield warning(f"process {pid} of {_owner(pid)} is left of a server that is no more", f"sudo kill {pid}")


def _owner(pid: int) -> str:
    uid = processes.uid(pid)
    return owner_name(uid) if uid is not None else "somebody"
