"""`apply` and `rollback`: a site is changed as a whole, checked, recorded, and put back when it is not healthy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import manylab
from manylab.apply import difference, garbage, generations, health, phases
from manylab.apply.converge import converge, leftovers, plan
from manylab.apply.difference import Difference
from manylab.apply.generations import Generation
from manylab.apply.site import Site, keep_locks, look, of_generation, solve_missing
from manylab.base.errors import ManylabError, Unhealthy
from manylab.base.layout import Layout
from manylab.model.environments import SERVER
from manylab.model.resources import Environment, File, Link, Resource, Service
from manylab.plan.diff import Change
from manylab.system import environments, supervisor
from manylab.system.environments import Say
from manylab.system.files import write_file
from manylab.system.observe import Machine
from manylab.system.services.managers import manager_for

HEALTHY_WITHIN = 60.0
# It imports everything, and rehearses; twice, if it has to do without its rehearsal.
NURSERY_WITHIN = 150.0


@dataclass(frozen=True)
class Outcome:
    """What was done. generation: None when nothing had to be recorded. difference: what was set differently."""

    changes: tuple[Change, ...]
    generation: Generation | None
    site: Site
    difference: Difference


def machine_for(site: Site, say: Say) -> Machine:
    """What observing and acting on this site need."""
    manager = manager_for(site.facts.service, site.layout)
    return Machine(site.layout, manager, site.network, say, site.channel_mirrors)


def plan_changes(site: Site) -> list[Change]:
    """What `apply` would do, unsolved environments included."""
    machine = machine_for(site, lambda line: None)
    changes = [
        Change(f"environment {request.name}", "create", (f"to be solved: {', '.join(request.requirements)}",))
        for request in site.unsolved
    ]
    return changes + plan(site.resources, machine, _leftovers(site))


def restarts(site: Site) -> tuple[str, ...]:
    """Which of hub, proxy and warden `apply` would restart: none, where nothing runs."""
    return difference.restarts(site) if health.should_serve(site, machine_for(site, lambda line: None)) else ()


def _leftovers(site: Site) -> list[str]:
    before = generations.current(site.layout)
    return leftovers(before.paths, site.resources) if before is not None and not site.unsolved else []


def apply_site(
    site: Site,
    say: Say,
    *,
    summary: str = "",
    start: bool = True,
    record: bool = True,
    restores: int | None = None,
    restored: Mapping[str, int] | None = None,
) -> Outcome:
    """Solve, make and record. The caller holds the site's lock.

    start: start and restart services, and look whether the site answers; without it only what they read is made.
    restores, restored: see `Generation`.
    Raises what the failed step raises; what was in use before is still in use then, or is put back.
    """
    if site.unsolved:
        say(phases.solving([request.name for request in site.unsolved]))
        site = _look_again(site, solve_missing(site, say))
    before = generations.current(site.layout)
    found = difference.from_generation(site, before)
    wanted = [item.path for item in site.resources if isinstance(item, Environment)]
    environments.sweep(site.layout.envs, wanted)
    machine = machine_for(site, say)
    resources: list[Resource] = [item for item in site.resources if start or not isinstance(item, Service)]
    # Where servers cannot be warm, a new environment does not change that.
    were_warm = start and health.warm_servers(site) != ""
    ran_before = supervisor.guardian(site.layout.supervisor_run)
    try:
        changes = converge(resources, machine, _leftovers(site))
        if start:
            health.settle(site, machine, changes, ran_before)
            if changes and health.should_serve(site, machine):
                say(phases.ANSWERS)
                health.wait(site, HEALTHY_WITHIN)
                if were_warm and any(change.key == f"environment {SERVER}" for change in changes):
                    health.wait_for_nursery(site, NURSERY_WITHIN)
    except ManylabError as error:
        if not isinstance(error, Unhealthy) or before is None:
            raise
        say(f"restore generation {before.number}: {error.message}")
        _put_back(site, before, say)
        raise Unhealthy(
            f"{error.message} (generation {before.number} is in use again)",
            hint="see 'manylab logs'; manylab.toml is as you wrote it: correct it and run 'manylab apply', or have it "
            "put back by 'manylab rollback'",
        ) from error
    keep_locks(site)
    recorded = None
    if record and (before is None or before.digest != site.digest):
        recorded = generations.record(
            site.layout,
            digest=site.digest,
            version=manylab.__version__,
            source_digest=site.facts.source_digest,
            summary=summary or (found.summary if before is not None else "first apply"),
            config_text=site.config_text,
            locks=site.locks,
            resources=site.resources,
            restores=restores,
            restored=restored,
        )
    if any(change.key.startswith("environment ") for change in changes):
        garbage.collect_quietly(site, say)
    return Outcome(tuple(changes), recorded, site, found)


def _look_again(site: Site, solved: Mapping[str, str]) -> Site:
    """The same site after its locks have been solved."""
    return look(
        site.layout,
        text=site.config_text,
        locks={**site.locks, **solved},
        source_digest=site.facts.source_digest,
        service=site.facts.service,
        operator=site.facts.operator,
    )


def _put_back(site: Site, generation: Generation, say: Say) -> None:
    old = of_generation(site.layout, generation)
    machine = machine_for(old, say)
    changes = converge(old.resources, machine, leftovers(generations_paths(site), old.resources))
    health.settle(old, machine, changes, supervisor.guardian(site.layout.supervisor_run))


def generations_paths(site: Site) -> list[str]:
    """Files and links of a site that may have been made without having been recorded."""
    return [str(item.path) for item in site.resources if isinstance(item, File | Link)]


def rollback(layout: Layout, number: int | None, say: Say) -> Outcome:
    """Go back to a generation: configuration, rendered files and environments. Accounts and homes are never touched."""
    wanted = generations.find(layout, number) if number is not None else garbage.last_good(layout)
    site = of_generation(layout, wanted)
    # Written first: should this be interrupted, `apply` goes on towards the same state.
    write_file(layout.config_file, wanted.config_text, 0o600)
    keep_locks(site)
    return apply_site(site, say, summary=f"rollback to {wanted.number}: {wanted.summary}", restores=wanted.number)
