"""Whether warden, proxy and hub run: from systemd where they are its units, else from the supervisor's record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from manylab.base.errors import CommandFailed
from manylab.base.layout import Layout
from manylab.supervise import control
from manylab.supervise.record import Record
from manylab.system.run import run

NAMES = ("warden", "proxy", "hub")
RUNNING, DEAD, STOPPED, UNKNOWN = 0, 1, 3, 4  # LSB 5.0, "Init Script Actions"
_UMBRELLA = "manylab.service"
_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,ActiveEnterTimestampMonotonic,Result"


@dataclass(frozen=True)
class Part:
    """One process of the site. since: seconds since 1970, of its present state.

    state: systemd's or the supervisor's word.
    """

    name: str
    state: str
    pid: int | None = None
    since: float | None = None
    restarts: int = 0

    @property
    def running(self) -> bool:
        return self.state in ("running", "active", "reloading")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "running": self.running}


@dataclass(frozen=True)
class Parts:
    """code: as LSB has it. text: one line for people.

    by: "systemd", "supervisor", or "" when nobody looks after them.
    """

    code: int
    text: str
    by: str
    parts: tuple[Part, ...]
    since: float | None = None

    @property
    def running(self) -> bool:
        return self.code == RUNNING

    def pid(self, name: str) -> int | None:
        return next((part.pid for part in self.parts if part.name == name), None)


def observe(layout: Layout, service: str) -> Parts:
    """The parts of this site. service: how it is installed ("systemd", "sysv", "").

    A site in somebody's terminal counts as running.
    """
    supervised = from_supervisor(control.status(layout.supervisor_run))
    if service != "systemd" or supervised.running:
        return supervised
    try:
        said = run(
            ["systemctl", "show", f"--property={_PROPERTIES}", _UMBRELLA, *map(_unit, NAMES)],
            timeout=5, check=False,
        )  # fmt: skip
    except CommandFailed as error:
        return Parts(UNKNOWN, f"systemd does not say: {error.message}", "systemd", ())
    return from_systemd(said.out, time.time() - time.monotonic())


def from_supervisor(said: control.Status) -> Parts:
    """The supervisor's record in these terms. Pure."""
    return Parts(
        said.code,
        said.text.removeprefix("manylab: ").removeprefix("manylab ").removeprefix("is "),
        "supervisor" if said.record else "",
        _services(said),
        said.record.since if said.record else None,
    )


def _services(said: control.Status) -> tuple[Part, ...]:
    record: Record | None = said.record
    if record is None:
        return ()
    alive = said.code == RUNNING
    return tuple(
        Part(one.name, one.state if alive else "unknown", one.pid, one.since, one.restarts) for one in record.services
    )


def from_systemd(said: str, booted: float) -> Parts:
    """What `systemctl show` printed for the umbrella and the three parts.

    booted: when the monotonic clock was 0. Pure.
    """
    units = {unit["Id"]: unit for unit in map(_block, said.strip().split("\n\n")) if "Id" in unit}
    umbrella = units.get(_UMBRELLA, {})
    if not umbrella:
        return Parts(UNKNOWN, "systemd does not say", "systemd", ())
    found = tuple(_part(name, units.get(_unit(name), {}), booted) for name in NAMES)
    broken = [part for part in found if not part.running]
    since = _part("", umbrella, booted).since
    active = umbrella.get("ActiveState") == "active"
    enabled = umbrella.get("UnitFileState") == "enabled"
    if active and not broken:
        return Parts(RUNNING, "running", "systemd", found, since)
    words = ", ".join(f"{part.name} {part.state}" for part in broken)
    if active and all(part.state in ("activating", "active") for part in broken):
        return Parts(RUNNING, f"running, not ready: {words}", "systemd", found, since)
    if active or umbrella.get("ActiveState") == "failed" or any(part.state == "failed" for part in broken):
        return Parts(DEAD, f"dead although it should run: {words}", "systemd", found)
    return Parts(STOPPED, "stopped" + (" (starts at boot)" if enabled else ""), "systemd", found)


def _unit(name: str) -> str:
    return f"manylab-{name}.service"


def _block(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}


def _part(name: str, unit: Mapping[str, str], booted: float) -> Part:
    state = unit.get("ActiveState", "unknown") if unit.get("LoadState") != "not-found" else "not installed"
    if state == "activating" and unit.get("SubState") == "auto-restart":
        state = "failed"  # it waits for its next try
    entered = int(unit.get("ActiveEnterTimestampMonotonic") or 0)
    since = booted + entered / 1e6 if entered else None
    return Part(name, state, int(unit.get("MainPID") or 0) or None, since, int(unit.get("NRestarts") or 0))
