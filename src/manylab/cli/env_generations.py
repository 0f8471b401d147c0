"""env history, rollback, gc, audit: what there was, what there still is, and what is known about it."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from manylab.apply import garbage
from manylab.apply import packages as apply_packages
from manylab.apply.change import Outcome
from manylab.apply.lock import exclusive
from manylab.apply.site import config_text, look
from manylab.cli.app import JsonOption, command
from manylab.cli.context import make_context
from manylab.cli.env_commands import DryRunOption, NameArgument, env_app, megabytes, site_of
from manylab.cli.result import Progress, Result
from manylab.cli.site_commands import LOCK_WAIT, WaitOption, changing, outcome_result
from manylab.model.locked import versions
from manylab.model.resources import Environment
from manylab.plan.packages import difference, in_words
from manylab.system import advisories
from manylab.system.environments import collect, record, use


@command(env_app, "history", example="sudo manylab env history default")
def history(name: NameArgument, as_json: JsonOption = False) -> Result:
    """List the generations of an environment: when, what changed, what removing it would free, and who uses it."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("looking at everybody's processes")
    folder = context.layout.env(name)
    found = record.generations(folder)
    if not found:
        known = [path.name for path in context.layout.envs.iterdir()] if context.layout.envs.exists() else []
        raise apply_packages.unknown_environment(name, known, "or it has not been built")
    now = record.current(folder)
    processes = use.users([one.path for one in found])
    sizes = collect.own_sizes(context.layout.envs, found)
    rows, lines = [], [f"  {'NUMBER':>6}  {'WHEN':<19}  {'OWN':>9}  {'PROCESSES':>9}  CHANGES"]
    for one in found:
        own = sizes[one.path]
        rows.append(
            {
                "number": one.number,
                "generation": one.digest,
                "when": one.when,
                "current": one.digest == now,
                "asked": one.asked,
                "summary": one.summary,
                "bytes": one.size,
                "own_bytes": own,
                "processes": list(processes[one.path]),
                "tested": list(one.tested),
            }
        )
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.when))
        sign = "*" if one.digest == now else " "
        users = len(processes[one.path])
        lines.append(f"{sign} {one.number:>6}  {when}  {megabytes(own):>9}  {users:>9}  {one.summary}")
    return Result({"name": name, "generations": rows}, "\n".join(lines))


@command(env_app, "rollback", example="sudo manylab env rollback default", changes=True)
def rollback(
    name: NameArgument,
    number: Annotated[
        int | None, typer.Argument(help="The generation to go back to; without it, the one that was in use before.")
    ] = None,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Go back to an earlier generation of one environment; manylab.toml asks for it from then on."""
    context = make_context(as_json)
    layout = context.layout
    began = time.monotonic()
    before = apply_packages.lock_in_use(layout, name)

    def act(progress: Progress) -> Outcome:
        return apply_packages.roll_back(layout, config_text(layout), name, number, progress.say)

    outcome = changing(context, wait, act)
    built = apply_packages.environment(outcome.site, name)
    minor = built.python_minor if built is not None else ""
    moved = difference(versions(before, minor), versions(apply_packages.lock_in_use(layout, name), minor))
    seconds = time.monotonic() - began
    now = record.read(layout.env(name) / record.current(layout.env(name)))
    assert now is not None
    lines = [*map(in_words, moved), f"{name} is generation {now.number} again; kernels that start from now on use it."]
    data = {**outcome_result(outcome, seconds).data, "number": now.number}
    return Result({**data, "packages": [dataclasses.asdict(one) for one in moved]}, "\n".join(lines))


@command(env_app, "gc", example="sudo manylab env gc --dry-run", changes=True)
def gc(dry_run: DryRunOption = False, as_json: JsonOption = False, wait: WaitOption = LOCK_WAIT) -> Result:
    """Remove generations that nobody uses and no rollback needs (env.keep), and downloads that none has any more."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root()
    with Progress() as progress, exclusive(context.layout.apply_lock, wait=wait, say=progress.say):
        removed, cache = garbage.collect(look(context.layout), progress.say, dry_run=dry_run)
    total = sum(one.size for one in removed) + cache
    rows = [
        {
            "name": one.environment,
            "number": one.generation.number,
            "generation": one.generation.digest,
            "bytes": one.size,
        }
        for one in removed
    ]
    lines = [
        f"{one.environment:<16} {one.generation.number or one.generation.digest:>6}  {megabytes(one.size):>9}"
        for one in removed
    ]
    end = f"{megabytes(total)} would be free." if dry_run else f"{megabytes(total)} freed."
    return Result(
        {"removed": rows, "cache_bytes": cache, "bytes": total, "dry_run": dry_run},
        "\n".join([*lines, end if total or removed else "Nothing to remove."]),
    )


@command(env_app, "audit", example="sudo manylab env audit")
def audit(
    name: Annotated[str | None, typer.Argument(help="One environment; without it, all.")] = None,
    as_json: JsonOption = False,
) -> Result:
    """List known vulnerabilities of the packages that are locked; ends with status 1 when there are some."""
    _, site = site_of(as_json)
    found = {item.name: item for item in site.resources if isinstance(item, Environment) and name in (None, item.name)}
    if not found:
        raise apply_packages.unknown_environment(str(name), site.locks, "or it has not been solved")
    where: dict[tuple[str, str], list[str]] = {}
    for env in found.values():
        for package, version in versions(env.lock, env.python_minor).items():
            where.setdefault((package, version), []).append(env.name)
    known, unknown = advisories.known(list(where), site.network)
    rows = [{**dataclasses.asdict(one), "environments": where[one.package, one.version]} for one in known]
    lines = []
    for one in known:
        names = ", ".join((one.name, *one.aliases))
        fixed = f"; fixed in {', '.join(one.fixed)}" if one.fixed else ""
        lines.append(f"{one.package} {one.version} in {', '.join(where[one.package, one.version])}: {names}{fixed}")
        lines += [f"    {one.summary}"] if one.summary else []
    if unknown:
        lines.append(f"Not known to the source: {', '.join(f'{package} {version}' for package, version in unknown)}")
    lines.append(f"{len(known)} known vulnerabilities in {len(where)} packages.")
    data = {
        "vulnerabilities": rows,
        "packages": len(where),
        "unknown": [f"{one}=={version}" for one, version in unknown],
    }
    return Result(data, "\n".join(lines), 1 if known else 0)
