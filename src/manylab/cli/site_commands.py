"""up, plan, apply, history, rollback: the site as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply import bundle, change, generations
from manylab.apply.change import Outcome
from manylab.apply.lock import exclusive
from manylab.apply.site import Site, look
from manylab.base.errors import AlreadyRunning
from manylab.cli.app import JsonOption, app, command
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result
from manylab.cli.running_servers import offer, told
from manylab.model import environments
from manylab.model.hub import address, local_url
from manylab.model.resources import Environment
from manylab.plan import show
from manylab.system import accounts, ports, supervisor
from manylab.system.run import clean_environment, network_environment

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
    with Progress() as progress, exclusive(context.layout.apply_lock, wait=wait, say=progress.say):
        return act(progress)


def outcome_result(outcome: Outcome, seconds: float) -> Result:
    """What `apply` and its like print."""
    number = outcome.generation.number if outcome.generation else None
    data = {"changes": show.as_json(outcome.changes), "generation": number, "seconds": round(seconds, 2)}
    if not outcome.changes:
        text = "Nothing to change: the machine is as the configuration says."
    else:
        text = f"{len(outcome.changes)} changes in {seconds:.1f} s."
    return Result(data, text + (f" This is generation {number}." if number else ""))


def with_servers(result: Result, outcome: Outcome, restart: bool, as_json: bool) -> Result:
    """What `apply` prints, with the running servers that keep old values."""
    servers = offer(outcome.site, wanted=restart, as_json=as_json)
    return Result({**result.data, **servers.data}, "\n".join(part for part in (result.text, servers.text) if part))


@command(app, "plan", example="sudo manylab plan")
def plan(as_json: JsonOption = False) -> Result:
    """Show what `apply` would change, and change nothing."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("looking at what only root may read")
    site = look(context.layout)
    changes = change.plan_changes(site)
    kept = told(site)
    text = "\n\n".join(part for part in (show.as_text(changes), kept.text) if part)
    return Result({"changes": show.as_json(changes), **kept.data}, text)


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
    """List the generations: what was applied, and when."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("reading the generations")
    now = generations.current(context.layout)
    found = generations.read_all(context.layout)
    rows = []
    lines = []
    for item in found:
        current = now is not None and item.number == now.number
        row = {"number": item.number, "when": item.when, "version": item.version, "summary": item.summary}
        rows.append({**row, "current": current})
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item.when))
        lines.append(f"{'*' if current else ' '} {item.number:>4}  {when}  {item.summary}")
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
