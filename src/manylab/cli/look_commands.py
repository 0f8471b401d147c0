"""status, logs, doctor: commands that look and change nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from manylab.base import names
from manylab.base.errors import NotFound, NotInstalled
from manylab.cli.app import JsonOption, app, command
from manylab.cli.context import exists, make_context, shown
from manylab.cli.doctor import report
from manylab.cli.doctor.checks import ALL
from manylab.cli.doctor.scene import make_scene
from manylab.cli.doctor.table import examine_all
from manylab.cli.look import follow
from manylab.cli.look import status as site_status
from manylab.cli.look.parts import STOPPED
from manylab.cli.result import Result
from manylab.config.problems import did_you_mean
from manylab.model import units
from manylab.system import facts
from manylab.system.run import clean_environment, run

_PARTS = ("hub", "proxy", "warden", "servers")
_NOBODY = "There is no site on this machine yet: sudo ./manylab up builds one and serves it."


@command(app, "status", example="sudo manylab status")
def status(as_json: JsonOption = False) -> Result:
    """Show what runs, who is signed in, and which versions. Exit status: 0 running, 1 dead, 3 stopped, 4 not known.

    MEMORY is what a server really uses with its kernels, terminals and programs: OWN and SHARED of `manylab top`.
    """
    context = make_context(as_json)
    if not exists(context.layout):
        return Result({"state": "stopped", "code": STOPPED, "site": False}, _NOBODY, STOPPED)
    data, code = site_status.observe(make_scene(context.layout))
    text = site_status.as_text(data, time.time())
    if code == STOPPED:
        text += (
            f"\nStart it with: {'sudo ' if context.layout.system else ''}manylab {'start' if data['service'] else 'up'}"
        )
    if context.own is not None:
        text += f"\nYou have a site of your own as well ({shown(context.own.config_file)}): manylab --own status"
    return Result(data, text, code)


@command(app, "doctor", example="sudo manylab doctor")
def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Show every check, also those that found nothing.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="Make only this check; may be given several times.")
    ] = None,
    as_json: JsonOption = False,
) -> Result:
    """Look for what is wrong, say why it matters and which command mends it. Exit status: 1 when there is a problem."""
    context = make_context(as_json)
    scene = make_scene(context.layout)
    if unknown := [one for one in only or () if one not in ALL]:
        meant = did_you_mean(unknown[0], ALL)
        raise NotFound(f"there is no check {unknown[0]!r}", hint=f"{meant}'manylab doctor --all' shows them all")
    examined = list(examine_all(scene, {one: ALL[one] for one in only or ALL}))
    text = report.as_text(examined, everything=everything)
    if scene.layout.system and not scene.root and not only:
        text += "\nOnly root can make them all: sudo manylab doctor"
    failed = any(item.level == "problem" for item in examined)
    return Result(report.as_json(examined), text, 1 if failed else 0)


@command(app, "logs", example="sudo manylab logs -f hub")
def logs(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[hub|proxy|warden|servers|NAME]",
            help="One part, all servers, or one person's; without it, everything.",
        ),
    ] = "",
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing what is added, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines of each log.")] = 50,
    # Not as_json: each line is a value of its own, and nothing follows the last.
    json_lines: Annotated[bool, typer.Option("--json", help="Print one JSON value for each line.")] = False,
) -> Result:
    """Show what the hub, the proxy, the warden and people's servers have logged."""
    context = make_context(False)
    if not exists(context.layout):
        raise NotInstalled("there is no site on this machine yet", hint="sudo ./manylab up builds one and serves it")
    if context.layout.system:
        context.need_root("reading its logs")
    if what and what not in _PARTS:
        names.account(what)
    try:
        if facts.read_installed(context.layout).get("service") == "systemd":
            return Result(status=_journal(what, lines, following=following, as_json=json_lines))
        _files(context.layout.logs, what, lines, following=following, as_json=json_lines)
    except KeyboardInterrupt:
        return Result()
    except BrokenPipeError:  # `manylab logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Result()


def _no_log(what: str) -> NotFound:
    """The error where neither a part of the site nor a person's server of this name has logged anything."""
    meant = did_you_mean(what, _PARTS)
    return NotFound(
        f"there is no log of {what or 'this site'}",
        hint=f"{meant}The parts are {', '.join(_PARTS)}; of a person there is one from the first start of their server",
    )


def _files(folder: Path, what: str, lines: int, *, following: bool, as_json: bool) -> None:
    found = follow.chosen(folder, what)
    if not found and not following:
        raise _no_log(what)
    several = what in ("", "servers") or len(found) > 1

    def say(name: str, line: str) -> None:
        if as_json:
            print(json.dumps({"log": name, "line": line}, ensure_ascii=False), flush=True)
        else:
            print(f"{name} | {follow.printable(line)}" if several else follow.printable(line), flush=True)

    follow.show(lambda: follow.chosen(folder, what), lines, follow=following, say=say)


def journal_command(what: str, scopes: Iterable[str], lines: int, *, following: bool, as_json: bool) -> list[str]:
    """journalctl for a part, for all servers, or for these scopes of one person's. Pure.

    By fields, not by --unit, whose patterns are looked up once: a server that starts while we follow would be missing.
    """
    servers = [[f"_SYSTEMD_SLICE={units.SLICE}"]]
    parts = [name for name in ("warden", "proxy", "hub") if what in ("", name)]
    wanted = [
        match for name in parts for match in ([f"_SYSTEMD_UNIT={_unit(name)}"], [f"UNIT={_unit(name)}", "_PID=1"])
    ]
    wanted += servers if what in ("", "servers") else []
    # The field _UID is no help: journald has it from the moment when the server was still being started by root.
    wanted += [[f"_SYSTEMD_UNIT={scope}"] for scope in scopes]
    matches = [word for match in wanted for word in ("+", *match)][1:]
    look = ["--follow"] if following else []
    output = "json" if as_json else "short-iso"
    return ["journalctl", "--no-pager", f"--lines={lines}", f"--output={output}", *look, *matches]


def scopes_of(person: str, known: Iterable[str]) -> list[str]:
    """Which of the journal's units were servers of this person (see warden.spawn for their names). Pure."""
    server = r"(?:_|[a-z0-9](?:-?[a-z0-9])*)"
    pattern = re.compile(rf"manylab-server-{re.escape(names.folder(person))}-{server}-[0-9a-f]{{8}}\.scope")
    return sorted(unit for unit in known if pattern.fullmatch(unit))


def _unit(name: str) -> str:
    return f"manylab-{name}.service"


def _scopes(what: str) -> list[str]:
    """Scopes of somebody's servers; none for parts. Raises NotFound for somebody who never had one."""
    if not what or what in _PARTS:
        return []
    found = scopes_of(what, run(["journalctl", "--field=_SYSTEMD_UNIT"], timeout=30).out.split())
    if not found:
        raise _no_log(what)
    return found


def _journal(what: str, lines: int, *, following: bool, as_json: bool) -> int:
    # Not through system.run, which captures: this is shown as it comes.
    process = subprocess.Popen(
        journal_command(what, _scopes(what), lines, following=following, as_json=as_json), env=clean_environment()
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal told it too
        return 0
