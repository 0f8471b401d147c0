"""What `status` tells of a site: quickly, from what runs and what is on disk, and only what this account may know."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manylab.apply import generations
from manylab.base import procfs
from manylab.base.errors import ManylabError
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.look import processes, versions
from manylab.cli.look.follow import printable
from manylab.cli.look.parts import RUNNING, UNKNOWN
from manylab.cli.look.top_members import from_warden
from manylab.cli.look.top_sample import Row, Sampler
from manylab.config.values import size_text
from manylab.lab.memory import meter
from manylab.model.environments import SERVER
from manylab.model.hub import address, local_url
from manylab.system.environments import record
from manylab.system.http import status_of

# All of `status` should take less than a second, whatever hangs.
_ANSWERS_WITHIN = 0.5
_MEMORY_WITHIN = 0.5


def observe(scene: Scene) -> tuple[dict[str, Any], int]:
    """Everything that is known, and the exit status as LSB has it."""
    layout = scene.layout
    parts = scene.parts
    data: dict[str, Any] = {
        "state": parts.text, "code": parts.code, "service": scene.installed.get("service", ""), "since": parts.since,
        "parts": [part.as_json() for part in parts.parts], "versions": versions.observe(layout), "unknown": [],
    }  # fmt: skip
    if layout.system and not scene.root:
        data["unknown"].append(
            f"only root may know the address, the people and their servers ({layout.config_file} is private)"
        )
        return {**data, "code": UNKNOWN}, UNKNOWN
    try:
        local = local_url(scene.config)
        data["address"] = address(scene.config)
        if parts.running:
            data["answers"] = status_of(f"{local}hub/health", timeout=_ANSWERS_WITHIN) == 200
    except Skip as reason:
        data["unknown"].append(str(reason))
    try:
        data["people"] = [person.name for person in scene.members]
    except Skip as reason:
        data["unknown"].append(str(reason))
    data["servers"] = _servers(scene, data["unknown"]) if parts.code == RUNNING else []
    data["generation"] = _generation(scene, data["unknown"])
    return data, parts.code


def _generation(scene: Scene, unknown: list[str]) -> dict[str, Any] | None:
    try:
        found = generations.current(scene.layout)
    except (OSError, ValueError, KeyError, TypeError) as error:  # written by another version
        unknown.append(f"the generation cannot be read: {error}")
        return None
    return {"number": found.number, "when": found.when} if found else None


def _servers(scene: Scene, unknown: list[str]) -> list[dict[str, Any]]:
    try:
        found = scene.servers
    except (ManylabError, Skip) as error:
        unknown.append(str(error))
        return []
    used = memory(found)
    for name in sorted({str(one["user"]) for one in found if procfs.hangs(int(one["pid"]))}):
        unknown.append(f"all that {name}'s servers use: a process of theirs cannot be looked at, until it is stopped")
    if late := sum(row.unread > 0 for row in used.values()):
        unknown.append(f"the memory of {late} servers, which takes longer to look at: manylab top")
    envs = scene.layout.env(SERVER)
    now = record.current(envs)
    return [
        {
            "user": one["user"],
            "server": one["server"],
            "pid": one["pid"],
            "since": one["since"],
            "memory": row.use.memory if (row := used.get(int(one["pid"]))) and not row.unread else None,
            "running": row is not None,
            "older": of_before(processes.command_line(int(one["pid"])), envs, now),
            **_limits(int(one["pid"])),
        }
        for one in found
    ]


def memory(servers: Sequence[Mapping[str, Any]]) -> dict[int, Row]:
    """What each server uses with all it started, as `top` says it, by the pid of the server."""
    sample = Sampler(lambda: from_warden(servers)).look(budget=_MEMORY_WITHIN)
    return {row.parts[0].pid: row for row in sample.rows}


def of_before(command_line: bytes, envs: Path, now: str) -> bool:
    """Whether a server runs out of another generation of the server environment than new ones do. Pure.

    envs: the folder of its generations. now: the one in use, "" without one. What a process says of itself is its
    owner's to change, so nothing but this line depends on it.
    """
    program = Path(command_line.partition(b"\0")[0].decode("utf-8", "replace"))
    return bool(now) and envs in program.parents and envs / now not in program.parents


def _limits(pid: int) -> dict[str, Any]:
    """From the counters of the machine's kernel, which nobody but root can change."""
    counters = meter(pid)
    if not counters.caged:
        return {"memory_limit": None, "ended_for_memory": 0}
    return {"memory_limit": counters.limit(), "ended_for_memory": counters.read().kills}


def as_text(data: Mapping[str, Any], now: float) -> str:
    """The same for people. Pure."""
    lines = [
        f"manylab is {data['state']}"
        + (f", for {duration(now - data['since'])}" if data.get("since") is not None else "")
    ]
    if "address" in data:
        silent = "" if data.get("answers", True) else "  (does not answer yet)"
        lines.append(f"address     {data['address']}{silent}")
    if data.get("generation"):
        applied = time.strftime("%Y-%m-%d %H:%M", time.localtime(data["generation"]["when"]))
        lines.append(f"generation  {data['generation']['number']}, applied {applied}")
    if data["versions"]:
        lines.append("versions    " + ", ".join(f"{name} {version}" for name, version in data["versions"].items()))
    for part in data["parts"]:
        pid = f"pid {part['pid']}" if part["pid"] else ""
        restarts = f"started again {part['restarts']} times" if part["restarts"] else ""
        lines.append(f"{part['name']:<12}" + ", ".join(filter(None, (part["state"], pid, restarts))))
    if "people" in data:
        lines.append(
            f"people      {len(data['people'])} may sign in" + (f": {_names(data['people'])}" if data["people"] else "")
        )
    if data.get("servers"):
        lines += [
            "",
            *table([("USER", "SERVER", "PID", "SINCE", "MEMORY"), *(_row(one, now) for one in data["servers"])]),
        ]
        lines += [ended(one) for one in data["servers"] if one.get("ended_for_memory")]
        if older := sum(bool(one.get("older")) for one in data["servers"]):
            lines.append(
                f"{older} of them from before the server environment changed; their Labs say so, and a restart of the "
                "server brings the new one"
            )
    elif data.get("servers") is not None and data["code"] == RUNNING:
        lines.append("servers     none")
    lines += [f"not known: {reason}" for reason in data["unknown"]]
    return "\n".join(map(printable, lines))


def _row(one: Mapping[str, Any], now: float) -> tuple[str, ...]:
    memory = "?" if one.get("running", True) else "gone"
    if one["memory"] is not None:
        memory = f"{one['memory'] / (1 << 20):.0f} MiB"
    if one.get("memory_limit"):
        memory += f" of {size_text(one['memory_limit'])}"
    return one["user"], one["server"] or "(default)", str(one["pid"]), f"{duration(now - one['since'])} ago", memory


def ended(one: Mapping[str, Any]) -> str:
    """What became of somebody who used up their memory. Pure."""
    name, count = one["user"] + (f"/{one['server']}" if one["server"] else ""), one["ended_for_memory"]
    what = "1 kernel or other process" if count == 1 else f"{count} kernels or other processes"
    limit = f"limit {size_text(one['memory_limit'])}" if one.get("memory_limit") else "no limit of their own"
    return f"{name}: {what} ended for memory ({limit})"


def _names(people: Sequence[str], most: int = 12) -> str:
    return ", ".join(people[:most]) + (" ..." if len(people) > most else "")


def duration(seconds: float) -> str:
    """Like "3 days", "2 h 5 min", "40 s". Pure."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600, whole // 60
    if days >= 2:
        return f"{days} days"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns that are as wide as what is in them. Pure."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
