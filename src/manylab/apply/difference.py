"""What is set differently from before, and what that means: settings, packages of environments, restarts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manylab.apply import generations
from manylab.apply.generations import Generation
from manylab.apply.site import Site
from manylab.base.errors import ConfigError
from manylab.config.load import parse
from manylab.config.schema import Config
from manylab.model.locked import versions
from manylab.model.resources import File
from manylab.plan.packages import Moved, difference
from manylab.plan.settings import Changed, changed


@dataclass(frozen=True)
class Difference:
    """settings: in the words of manylab.toml. packages: by environment. version: whether manylab itself is another."""

    settings: tuple[Changed, ...]
    packages: Mapping[str, tuple[Moved, ...]]
    version: bool = False

    @property
    def summary(self) -> str:
        """One line for `history`."""
        said = [one.text for one in self.settings]
        said += [] if said else [f"packages of {name}" for name in self.packages]
        said += ["another version of manylab"] if self.version and not said else []
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        return "; ".join(said[:3]) + more or "as before"


def from_generation(site: Site, before: Generation | None) -> Difference:
    """What is different in a site from a generation, or from the settings' defaults where there is none."""
    if before is None:
        return Difference(changed(Config(), site.config), {})
    old = before.locks()
    packages = {name: _moved(old.get(name, ""), lock) for name, lock in site.locks.items()}
    return Difference(
        changed(_config(before, site.config), site.config),
        {name: moved for name, moved in packages.items() if moved},
        before.source_digest != site.facts.source_digest,
    )


def between(before: Generation | None, after: Generation) -> Difference:
    """What is different in a generation from the one before it."""
    config = _config(after, Config())
    if before is None:
        return Difference(changed(Config(), config), {})
    packages = {}
    if before.environments != after.environments:
        old, new = before.locks(), after.locks()
        moved = {name: _moved(old.get(name, ""), new.get(name, "")) for name in {**old, **new}}
        packages = {name: one for name, one in moved.items() if one}
    return Difference(changed(_config(before, config), config), packages, before.source_digest != after.source_digest)


def restarts(site: Site) -> tuple[str, ...]:
    """Which of hub, proxy and warden run with something that is different now."""
    wanted = next((item for item in site.resources if isinstance(item, File) and item.path == _services(site)), None)
    try:
        have = {one["name"]: one for one in json.loads(_services(site).read_text(encoding="utf-8"))["services"]}
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    if wanted is None:
        return ()
    return tuple(one["name"] for one in json.loads(wanted.content)["services"] if have.get(one["name"], one) != one)


def since_current(site: Site) -> Difference:
    """What is different from what was applied last."""
    return from_generation(site, generations.current(site.layout))


def _services(site: Site) -> Path:
    return site.layout.services_json


def _moved(before: str, after: str) -> tuple[Moved, ...]:
    return () if before == after else difference(versions(before), versions(after))


def _config(generation: Generation, otherwise: Config) -> Config:
    """Its configuration; another one where this version of manylab does not understand it any more."""
    try:
        return parse(generation.config_text)
    except (ConfigError, OSError):
        return otherwise
