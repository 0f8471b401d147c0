"""up, plan, apply, history, rollback: the site as a whole."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import manylab
from manylab.apply import bundle, change, difference, generations
from manylab.apply.change import Outcome
from manylab.apply.lock import exclusive
from manylab.apply.site import Site, look
from manylab.base.errors import AlreadyRunning
from manylab.cli.app import JsonOption, app, command
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result, plural
from manylab.cli.running_servers import offer, told
from manylab.model import environments
from manylab.model.hub import address, local_url
from manylab.model.resources import Environment
from manylab.plan import show
from manylab.system import accounts, ports, supervisor
from manylab.system.run import clean_environment, network_environment

# Of all commands that change the site, in the folder of its logs.
LOG = "apply.log"
# Where the text of a line of `history` begins.
_INDENT = 29
# A second `apply` waits this long for the first before it says who holds the lock, seconds.
LOCK_WAIT = 600.0

WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for another manylab that changes this site.")
]


RestartOption = Annotated[
    bool,
    typer.Option(
        "--restart-servers", help="Restart running servers that keep old values, without asking. It ends their kernels."
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="FILE", help="Take everything from a file that 'manylab env bundle' made."),
]


def changing(context: Context, wait: float, act: Callable[[Progress], Outcome]) -> Outcome:
    """Run something that changes the site: alone, with progress."""
    if context.layout.system:
        context.need_root()
    os.umask(0o022)
    layout = context.layout
    progress = Progress(layout.logs / LOG, layout.program)
    with progress, exclusive(layout.apply_lock, wait=wait, say=progress.say):
        return act(progress)


def outcome_result(outcome: Outcome, seconds: float) -> Result:
    """What `apply` and its like print."""
    number = outcome.generation.number if outcome.generation else None
    found = outcome.difference
    data = {
        "changes": show.as_json(outcome.changes),
        "settings": [one.as_data() for one in found.settings],
        "generation": number,
        "seconds": round(seconds, 2),
    }
    count = len(outcome.changes)
    done = f"{plural(count, 'change')} in {seconds:.1f} s." if count else show.NOTHING
    # Of a new site everything is new.
    lines = [] if number == 1 else [one.text for one in found.settings]
    return Result(data, "\n".join([*lines, done + (f" This is generation {number}." if number else "")]))


def with_servers(result: Result, outcome: Outcome, restart: bool, as_json: bool) -> Result:
    """What `apply` prints, with the running servers that keep old values."""
    servers = offer(outcome.site, wanted=restart, as_json=as_json)
    return Result({**result.data, **servers.data}, "\n".join(part for part in (result.text, servers.text) if part))


@command(app, "plan", example="sudo manylab plan")
def plan(
    files: Annotated[
        bool, typer.Option("--files", help="List every file, account and unit, and what is different in it.")
    ] = False,
    as_json: JsonOption = False,
) -> Result:
    """Show what `apply` would change, and change nothing: settings first, then what they mean."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("looking at what only root may read")
    site = look(context.layout)
    changes = change.plan_changes(site)
    found, restarts = difference.since_current(site), change.restarts(site)
    short = show.in_short(found.settings, found.packages, changes, restarts)
    if found.version:
        short = f"Another version of manylab ({manylab.__version__}).\n{short}"
    # What somebody changed on the machine itself has no setting to name.
    drift = bool(changes) and not (found.settings or found.packages or found.version)
    text = show.as_text(changes) if files or drift or not short else short
    kept = told(site)
    settings = [one.as_data() for one in found.settings]
    data = {"changes": show.as_json(changes), "settings": settings, "restarts": list(restarts), **kept.data}
    return Result(data, "\n\n".join(part for part in (text, kept.text) if part))


def take_bundle(context: Context, file: Path | None, wait: float) -> None:
    """Unpack a bundle, so that what follows needs no network."""
    if file is not None:
        if context.layout.system:
            context.need_root()
        os.umask(0o022)
        with Progress() as progress, exclusive(context.layout.apply_lock, wait=wait, say=progress.say):
            bundle.adopt(context.layout, file, progress.say)


@command(app, "apply", example="sudo manylab apply", changes=True)
def apply(
    restart_servers: RestartOption = False,
    file: BundleOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Make the machine as manylab.toml says. Run it as often as you like: what is right already is left alone."""
    context = make_context(as_json)
    began = time.monotonic()
    take_bundle(context, file, wait)
    outcome = changing(context, wait, lambda progress: change.apply_site(look(context.layout), progress.say))
    return with_servers(outcome_result(outcome, time.monotonic() - began), outcome, restart_servers, as_json)


@command(app, "history", example="sudo manylab history")
def history(as_json: JsonOption = False) -> Result:
    """List the generations: when each was applied, what was set differently, and which packages came with it."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("reading the generations")
    now = generations.current(context.layout)
    found = generations.read_all(context.layout)
    rows = []
    lines = []
    before = None
    for item in found:
        different = difference.between(before, item)
        before = item
        current = now is not None and item.number == now.number
        row = {"number": item.number, "when": item.when, "version": item.version, "summary": item.summary}
        settings = [one.as_data() for one in different.settings]
        moved = {name: [dataclasses.asdict(one) for one in packages] for name, packages in different.packages.items()}
        rows.append({**row, "current": current, "settings": settings, "packages": moved})
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.when))
        lines.append(f"{'*' if current else ' '} {item.number:>4}  {when}  {item.summary}")
        said = [one.text for one in different.settings if one.text not in item.summary]
        said += show.environments((), different.packages)
        lines += [f"{'':>{_INDENT}}{line}" for line in said]
    return Result({"generations": rows}, "\n".join(lines) or "Nothing was applied yet.")


@command(app, "rollback", example="sudo manylab rollback 3", changes=True)
def rollback(
    number: Annotated[
        int | None, typer.Argument(help="The generation to go back to; without it, the one that was in use before.")
    ] = None,
    restart_servers: RestartOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Go back to an earlier generation: configuration, rendered files and environments.

    Accounts and homes stay as they are.
    """
    context = make_context(as_json)
    began = time.monotonic()
    outcome = changing(context, wait, lambda progress: change.rollback(context.layout, number, progress.say))
    return with_servers(outcome_result(outcome, time.monotonic() - began), outcome, restart_servers, as_json)


@command(app, "up", example="sudo ./manylab up", changes=True)
def up(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the hub, the proxy and the warden log.")
    ] = False,
    file: BundleOption = None,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Build what is missing and serve the site in the foreground, until Ctrl-C."""
    context = make_context(as_json=False)
    if context.layout.system:
        context.need_root("serving it")
    refuse_second(context)
    take_bundle(context, file, wait)
    site = look(context.layout)
    ports.check_free(str(site.config.http.address), site.config.http.port)
    outcome = changing(context, wait, lambda progress: change.apply_site(look(context.layout), progress.say))
    serve(outcome.site, verbose)
    raise AssertionError("not reached: serve replaces this process")


def refuse_second(context: Context) -> None:
    """Raises AlreadyRunning when somebody serves this site already."""
    pid = supervisor.guardian(context.layout.supervisor_run)
    if pid is not None:
        raise AlreadyRunning(
            f"this site is being served already (pid {pid})",
            hint="'manylab status' says more; 'manylab stop' stops it, if it is a service",
            pid=pid,
        )


def greeting(site: Site) -> str:
    """What is printed when the site answers: its address, and what a newcomer has to know."""
    lines = [f"{site.config.site.name} is ready: {address(site.config)}"]
    if not site.layout.system:
        lines.append(
            f"Started without root, it serves {site.facts.person} alone: sign in with that account's own password. "
            f"Everything is below {site.layout.program.parent}."
        )
    elif not accounts.members(str(site.config.people.group)):
        lines.append("Nobody may sign in yet. In another terminal: sudo manylab user add NAME")
    return "\n".join(lines)


def serve(site: Site, verbose: bool) -> None:
    """Become the supervisor: the same process, so that Ctrl-C and a closed terminal reach it."""
    hub = next(item for item in site.resources if isinstance(item, Environment) and item.name == environments.HUB)
    print("Starting; Ctrl-C stops everything.", flush=True)
    python = str(environments.python_of(hub))
    argv = [python, "-I", "-m", "manylab.supervise", str(site.layout.services_json), "--foreground"]
    argv += ["--ready-url", f"{local_url(site.config)}hub/health", "--ready-text", greeting(site)]
    argv += ["--verbose"] if verbose else []
    os.execve(python, argv, clean_environment(network_environment()))  # noqa: S606 (no shell is wanted)
