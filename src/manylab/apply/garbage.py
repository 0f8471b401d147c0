"""Which generations of environments a site still needs; the others are removed."""

from __future__ import annotations

from pathlib import Path

from manylab.apply import generations
from manylab.apply.generations import Generation
from manylab.apply.site import Site, of_generation
from manylab.base.errors import ManylabError
from manylab.base.layout import Layout
from manylab.config.load import read
from manylab.model.resources import Environment
from manylab.system.environments import Say
from manylab.system.environments import collect as system_collect
from manylab.system.environments.collect import Removed


def last_good(layout: Layout) -> Generation:
    """What `rollback` without a number means.

    The generation in use when manylab.toml has since been edited (and perhaps refused by `apply`), else the one that
    was in use before.
    """
    now = generations.current(layout)
    if now is not None and layout.config_file.exists() and read(layout.config_file) != now.config_text:
        return now
    return generations.find(layout, None)


def needed(site: Site) -> set[Path]:
    """The folders of the site's own environments, and of those that `rollback` and `env rollback` without a number
    would go to.
    """
    everything, now = generations.read_all(site.layout), generations.current(site.layout)
    sites = [site]
    for generation in (generations.before(everything, now), now):
        if generation is not None:
            sites.append(of_generation(site.layout, generation))
    found = {item.path for one in sites for item in one.resources if isinstance(item, Environment)}
    earlier = {one.name: generations.environment_before(everything, now, one.name) for one in site.asked}
    return found | {site.layout.env(name) / digest for name, digest in earlier.items() if digest}


def collect(site: Site, say: Say, *, dry_run: bool = False) -> tuple[list[Removed], int]:
    """Remove the generations that nobody needs, and downloads that none has; what was removed, and bytes of the
    cache. The caller holds the site's lock.
    """
    layout = site.layout
    if not dry_run:
        system_collect.sweep(layout.envs, ())
    removed = system_collect.collect(
        layout.envs, keep=site.config.env.keep, needed=needed(site), say=say, dry_run=dry_run
    )
    return removed, 0 if dry_run else system_collect.prune_cache(layout.cache, site.network, say)


def collect_quietly(site: Site, say: Say) -> None:
    """The same after something else was done, whose success does not depend on it."""
    try:
        collect(site, say)
    except (ManylabError, OSError) as error:
        say(f"old generations of environments could not be removed: {error}")
