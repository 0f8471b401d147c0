"""What people do with one environment: other packages, newer ones, back to an earlier generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manylab.apply import change, generations
from manylab.apply.change import Outcome
from manylab.apply.site import Site, look, solve_one
from manylab.base.errors import NotFound, Refused
from manylab.base.layout import Layout
from manylab.config import conda_packages, edit, packages
from manylab.config.load import parse as parse_config
from manylab.config.problems import did_you_mean
from manylab.config.values import toml
from manylab.model import environments
from manylab.model.conda_lock import is_conda, parse
from manylab.model.locked import versions
from manylab.model.resources import Environment
from manylab.plan.packages import Moved, difference, in_words
from manylab.system.environments import Say, record
from manylab.system.environments.distributions import installed
from manylab.system.environments.installers import download_sizes
from manylab.system.environments.record import Generation
from manylab.system.files import write_file
from manylab.system.registries import with_indexes

# Where manylab.toml has the further packages of manylab's own environments.
_OWN_KEYS = {environments.SERVER: "servers.packages", environments.HUB: "hub.packages"}


@dataclass(frozen=True)
class Newer:
    """Which packages may become newer: all of them, or those of these names."""

    all: bool = False
    packages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.all or bool(self.packages)


def environment(site: Site, name: str) -> Environment | None:
    """The environment of that name as it should be, None when it has yet to be solved."""
    return next((item for item in site.resources if isinstance(item, Environment) and item.name == name), None)


def unknown_environment(name: str, known: Iterable[str], why: str = "") -> NotFound:
    """The error for a name that no environment has. known: the names that there are. why: a second half for the
    sentence, such as "or it has not been built".
    """
    meant = did_you_mean(name, known)
    hint = f"{meant}'manylab env list' shows them, 'manylab env create {name} PACKAGE' makes a new one"
    return NotFound(f"there is no environment {name!r}{', ' if why else ''}{why}", hint=hint)


def prepared(layout: Layout, text: str, name: str, newer: Newer, say: Say) -> Site:
    """The site as `text` has it, with this environment solved. Changes nothing.

    Raises NotFound without such an environment, Refused for an upgrade of one whose lock comes with manylab, and what
    solving raises.
    """
    site = look(layout, text=text)
    request = next((one for one in site.asked if one.name == name), None)
    if request is None:
        raise unknown_environment(name, [one.name for one in site.asked])
    if newer and name in (environments.HUB, environments.PROXY):
        raise Refused(f"the packages of {name} come with manylab", hint="a newer manylab brings newer ones")
    unknown = [package for package in newer.packages if package not in versions(site.locks.get(name, ""))]
    if unknown and name in site.locks:
        raise NotFound(f"{', '.join(unknown)} is not in {name}", hint=f"'manylab env show {name}' lists what is")
    if not newer and name in site.locks:
        return site
    lock = solve_one(site, request, say, afresh=newer.all, upgrade=newer.packages)
    return look(layout, text=text, locks={**site.locks, name: lock})


def moved(layout: Layout, site: Site, name: str) -> tuple[Moved, ...]:
    """What would be different in an environment from the generation in use."""
    wanted = environment(site, name)
    minor = wanted.python_minor if wanted is not None else ""
    return difference(versions(lock_in_use(layout, name), minor), versions(site.locks.get(name, ""), minor))


def lock_in_use(layout: Layout, name: str) -> str:
    """The lock of the generation that the link `current` leads to, "" without one."""
    try:
        return (layout.env_current(name) / record.LOCK).read_text(encoding="utf-8")
    except OSError:
        return ""


def sizes(layout: Layout, name: str, digest: str = "current") -> dict[str, int]:
    """Bytes of each package in a generation, as its own record has it."""
    folder = layout.env(name) / digest
    return {one.name: one.size for one in installed(folder).values()} if (folder / record.MARKER).exists() else {}


def downloads(site: Site, name: str, moved: Sequence[Moved]) -> dict[str, int]:
    """Bytes of the archives of what is new or another version, as the index or channel says; less what is in the
    cache is what a build downloads.
    """
    wanted, lock = environment(site, name), site.locks.get(name, "")
    if wanted is None or not any(one.after for one in moved):
        return {}
    if is_conda(lock):
        return {one.name: one.size for one in parse(lock).packages}
    indexes = wanted.asked.indexes if wanted.asked is not None else ()
    network = with_indexes(site.network, indexes)
    return download_sizes(lock, python=wanted.python, cache=site.layout.cache, network=network)


def in_words_with_size(one: Moved, download: dict[str, int]) -> str:
    """A difference before it is made."""
    size = download.get(one.name) if one.after is not None else None
    return in_words(one) + (f"  {shown_size(size)} to download" if size else "")


def shown_size(size: int) -> str:
    """Bytes as people read them: "12.3 kB", "14.1 MB"."""
    for unit, bytes_of_it in (("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.{2 if unit == 'GB' else 1}f} {unit}"
    return f"{size / 1e3:.1f} kB" if size else "0 MB"


def switch(layout: Layout, site: Site, summary: str, say: Say, *, restored: Mapping[str, int] | None = None) -> Outcome:
    """Build what is missing, try it, and use it; then manylab.toml is written.

    Last, so that a request which cannot be had or does not work leaves the file as it was. The caller holds the
    site's lock. restored: see `generations.Generation`.
    """
    outcome = change.apply_site(site, say, summary=summary, restored=restored)
    if not layout.config_file.exists() or layout.config_file.read_text(encoding="utf-8") != site.config_text:
        write_file(layout.config_file, site.config_text, 0o600)
    return outcome


def find(layout: Layout, name: str, number: int | None) -> Generation:
    """A generation of an environment; without a number, the one that was in use before. Raises NotFound."""
    everything = record.generations(layout.env(name))
    if number is None:
        return _before(layout, name, everything)
    for one in everything:
        if one.number == number:
            return one
    raise NotFound(f"{name} has no generation {number}", hint=f"'manylab env history {name}' lists them")


def _before(layout: Layout, name: str, everything: Sequence[Generation]) -> Generation:
    """The generation that was in use before the current one; see `generations.before`."""
    records, in_use = generations.read_all(layout), generations.current(layout)
    digest = generations.environment_before(records, in_use, name)
    found = next((one for one in everything if one.digest == digest), None)
    if found is not None:
        return found
    now = next((one for one in everything if one.digest == record.current(layout.env(name))), None)
    earlier = [one for one in everything if now is not None and one.number < now.number]
    # Earlier versions of manylab did not record which generation was in use.
    if digest is None and earlier and not all(one.environments for one in records):
        return earlier[-1]
    raise NotFound(
        f"{name} has no earlier generation to go back to",
        hint=f"'manylab env history {name}' lists them; 'manylab env rollback {name} NUMBER' takes one of these",
    )


def roll_back(layout: Layout, text: str, name: str, number: int | None, say: Say) -> Outcome:
    """Use an earlier generation of an environment again. The caller holds the site's lock.

    Raises NotFound, and Refused where it was not written down what was asked for.
    """
    wanted = find(layout, name, number)
    if wanted.asked is None:
        raise Refused(
            f"generation {wanted.number} of {name} cannot be asked for in manylab.toml",
            hint="go back with the whole site: 'manylab history', 'manylab rollback N'",
        )
    site = look(layout, text=edited(text, name, wanted.asked), locks={name: wanted.lock})
    had_it = [one.number for one in generations.read_all(layout) if one.environments.get(name) == wanted.digest]
    restored = {name: had_it[-1]} if had_it else None
    return switch(layout, site, f"env rollback {name} {wanted.number}", say, restored=restored)


def edited(text: str, name: str, asked: dict[str, Any]) -> str:
    """manylab.toml with what a generation was asked for; what is so already stays as it is written."""
    if name in _OWN_KEYS:
        return edit.set_value(text, _OWN_KEYS[name], toml(asked["packages"]))
    text = edit.add_environment(text, name)
    if edit.get(text, f"envs.{name}.backend") != asked["backend"]:
        # What one backend takes the other may not: the list is empty for the moment in which that changes.
        text = edit.unset(edit.set_value(text, f"envs.{name}.packages", "[]"), f"envs.{name}.source")
    usual = {"channels": list(conda_packages.DEFAULT_CHANNELS), "pip": [], "source": [], "indexes": []}
    for setting in ("backend", "packages", "python", *usual):
        key = f"envs.{name}.{setting}"
        value = asked.get(setting, usual.get(setting))
        if edit.get(text, key) != value:
            text = edit.unset(text, key) if value == usual.get(setting) else edit.set_value(text, key, toml(value))
    return text


def with_packages(
    text: str, name: str, add: Sequence[str] = (), remove: Sequence[str] = (), *, new: bool = False
) -> str:
    """manylab.toml with other packages in an environment.

    new: the environment is created, with only these packages; without it, one that does not exist is refused, since its
    name may be misspelt. Of manylab's own, server and hub can have more than they come with. Raises Refused for the
    proxy and for a new environment that exists, NotFound for one that does not.
    """
    if name == environments.PROXY:
        raise Refused("the proxy has no packages of its own choice", hint="'manylab env list' shows the others")
    key = _OWN_KEYS.get(name, f"envs.{name}.packages")
    known = [*parse_config(text).envs, *_OWN_KEYS]
    if new and name in known:
        raise Refused(f"there is an environment {name!r} already", hint=f"'manylab env add {name} PACKAGE' adds to it")
    if new:
        text = edit.set_value(edit.add_environment(text, name), key, "[]")
    elif name not in known:
        raise unknown_environment(name, known)
    bound: list[str] = []
    for package in add:
        # One that is there is replaced by what is asked for now; of two limits in one breath both are meant.
        named = packages.name(package)
        text = edit.add_to_list(text, key, package, beside=named in bound)
        bound += [named] if named != package.lower() else []
    sources = f"envs.{name}.source"
    for package in remove:
        text = edit.remove_from_list(text, key, package)
        if name not in _OWN_KEYS and packages.name(package) in edit.get(text, sources):
            text = edit.remove_from_list(text, sources, packages.name(package))
    return text


def with_sources(text: str, name: str, add: Sequence[str]) -> str:
    """manylab.toml in which packages of an environment may be built from source. Raises Refused for manylab's own."""
    if name in environments.OWN:
        raise Refused(f"{name} takes wheels only", hint="environments of people can have packages built from source")
    for package in add:
        text = edit.add_to_list(text, f"envs.{name}.source", packages.name(package))
    return text


def as_data(one: Moved, before: dict[str, int], after: dict[str, int], download: dict[str, int]) -> dict[str, Any]:
    """One difference for `--json`; sizes in bytes, None where they are not known. Those before and after are installed,
    that of the download is packed.
    """
    fetched = download.get(one.name) if one.after is not None else None
    sized = {"bytes_before": before.get(one.name), "bytes_after": after.get(one.name), "bytes_download": fetched}
    return {**dataclasses.asdict(one), "kind": one.kind, **sized}
