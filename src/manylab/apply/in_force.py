"""Running servers that keep the old value of a setting, and how they get the new one.

Each server's registry entry has the settings that it was started with; those of the site are compared with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from manylab.apply.site import Site
from manylab.base import procfs
from manylab.base.limits import LIMITS, Limits, resolve
from manylab.config import values, walk
from manylab.config.positions import split_key
from manylab.config.schema import Config
from manylab.model import hub as model_hub
from manylab.model import jupyter as model_jupyter
from manylab.model.environments import SERVER
from manylab.model.resources import Environment
from manylab.plan.kept import Kept
from manylab.plan.settings import Changed, between
from manylab.system import accounts, servers
from manylab.system.environments import record, use
from manylab.system.hub_client import HubClient

# Restarted at the same time: each start takes a processor for a moment.
_TOGETHER = 4


def kept(site: Site) -> list[Kept]:
    """Every running server that keeps an old value, with what it keeps."""
    layout = site.layout
    envs = environments_of(site)
    if SERVER not in envs:
        return []
    wanted = model_hub.configured(site.config, envs)
    found = []
    for person, server, has in servers.started_with(layout.registry, layout.warden_socket):
        changes = [*_settings(has, wanted), *_limits(site.config, person, has.get(LIMITS, {}))]
        if changes:
            found.append(Kept(person, server, tuple(changes), any(_moves(site.config, one) for one in changes)))
    return found


def environments_of(site: Site) -> dict[str, Environment]:
    """Every environment that is solved, by name."""
    return {item.name: item for item in site.resources if isinstance(item, Environment)}


def kernels(site: Site) -> dict[str, dict[str, int]]:
    """How many processes of each person keep an earlier generation of an environment, by environment."""
    found: dict[str, dict[str, int]] = {}
    for env in model_jupyter.user_environments([*environments_of(site).values()]):
        earlier = [one.path for one in record.generations(env.path.parent) if one.path != env.path]
        pids = {pid for pids in use.users(earlier).values() for pid in pids} if earlier else ()
        owners = Counter(procfs.real_uid(pid) for pid in pids)
        people = {accounts.name_of(uid): owners[uid] for uid in owners if uid is not None and uid >= site.facts.min_uid}
        if people:
            found[env.name] = dict(sorted(people.items()))
    return found


def restart(site: Site, which: Sequence[Kept]) -> None:
    """Restart these servers. Raises Unhealthy when the hub refuses."""
    client = HubClient(site.layout, str(site.config.http.base_url))
    with ThreadPoolExecutor(_TOGETHER) as pool:
        list(pool.map(lambda one: client.restart(one.user, one.server), which))


def _moves(config: Config, change: Changed) -> bool:
    """Whether a server with the old value is not simply reached at the site's address."""
    if change.key == "http.public_url" and not config.http.subdomains:
        return False  # a name that its pages do not need
    return walk.counts(split_key(change.key)) == "address"


def _settings(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Changed]:
    """Settings that differ. One that only one side knows, for it was started by another version, does not count."""
    tables = [table for table in wanted if isinstance(has.get(table), Mapping)]
    known = {table: {*has[table]} & {*wanted[table]} for table in tables}
    known["jupyterhub"] = {*has.get("jupyterhub", ()), *wanted["jupyterhub"]}
    old, new = ({table: _only(side[table], known[table]) for table in tables} for side in (has, wanted))
    changes = list(between(old, new))
    lab = model_hub.LAB
    if has.get(lab, wanted[lab]) != wanted[lab] and not any(
        change.key in ("servers.packages", "servers.collaboration") for change in changes
    ):
        changes.append(Changed(lab, has.get(lab), wanted[lab]))
    return changes


def _only(table: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name in names}


def _limits(config: Config, person: str, has: Mapping[str, Any]) -> list[Changed]:
    """Limits that the server has and that its owner would not have now."""
    groups = [name for name in config.limits.groups if accounts.is_member(person, name)]
    said = {
        "groups": model_hub.own_limits(config.limits.groups),
        "people": model_hub.own_limits(config.limits.people),
    }
    usual = Limits(config.servers.memory, config.servers.cpu, config.servers.tasks)
    now = resolve(said, usual, person, groups)
    return [
        Changed(_limit_key(said, person, groups, name), _limit(name, has[name]), _limit(name, getattr(now, name)))
        for name in ("memory", "cpu", "tasks")
        if name in has and has[name] != getattr(now, name)
    ]


def _limit_key(said: Mapping[str, Any], person: str, groups: Sequence[str], name: str) -> str:
    """The setting that decides this limit of theirs now."""
    if name in said["people"].get(person, {}):
        return f"limits.people.{walk.dotted((person,))}.{name}"
    group = next((one for one in groups if name in said["groups"][one]), None)
    return f"servers.{name}" if group is None else f"limits.groups.{walk.dotted((group,))}.{name}"


def _limit(name: str, value: Any) -> Any:
    if value is None:
        return "none"
    return values.size_text(value) if name == "memory" else value
