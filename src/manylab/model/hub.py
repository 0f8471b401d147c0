"""hub.json and warden.json: what the hub and the warden are told.

Pure; `hub.settings` and `warden.settings` read them.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any

from manylab.base.layout import Layout
from manylab.config import walk
from manylab.config.limits import OwnLimits
from manylab.config.schema import Config
from manylab.model import accounts, environments, jupyter
from manylab.model.facts import Facts
from manylab.model.resources import Environment, File, Resource

# Seconds between two looks of the culler; jupyterhub-idle-culler's own default.
IDLE_CHECK = 300
# Slice of systemd below which every person's server has its scope.
SLICE = "manylab-servers.slice"
# The share of processors that all servers together get when the rest of the machine (which has 100) wants them too.
WEIGHT = 50
LIMITED = (("servers", "memory"), ("servers", "cpu"), ("servers", "tasks"))
LAB = "server-environment"
_RESERVE = 512 << 20, 4 << 30  # bytes that are kept for the machine itself, at least and at most
_STEP = 64 << 20  # bytes; what a machine says it has differs by a little from boot to boot


def public_url(config: Config) -> str:
    """The address that the proxy listens on, with the path of the site: "http://127.0.0.1:8000/wsl/"."""
    scheme = "https" if config.https.enabled else "http"
    return f"{scheme}://{_bracketed(config.http.address)}:{config.http.port}{config.http.base_url}"


def local_url(config: Config) -> str:
    """The same for somebody on this machine: with a loopback address where the site listens on all of them."""
    scheme = "https" if config.https.enabled else "http"
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http.address, config.http.address)  # noqa: S104
    usual = {"http": 80, "https": 443}[scheme]
    port = "" if config.http.port == usual else f":{config.http.port}"
    return f"{scheme}://{_bracketed(address)}{port}{config.http.base_url}"


def address(config: Config) -> str:
    """What people type into their browser, as far as manylab knows it."""
    return config.http.public_host + config.http.base_url if config.http.public_url else local_url(config)


def _bracketed(address: str) -> str:
    try:
        return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    except ValueError:
        return address


def resources(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    """The two files."""
    (_, hub_group), _ = accounts.owners(facts)
    root = "root" if facts.system else ""
    yield File(layout.hub_json, _json(hub_settings(config, facts, layout)), 0o640, root, hub_group, secret=True)
    yield File(layout.warden_json, _json(warden_settings(config, facts, layout, envs)), 0o600, root, root)


def hub_settings(config: Config, facts: Facts, layout: Layout) -> dict[str, Any]:
    """hub.json as data."""
    traits: dict[str, Any] = {"JupyterHub.bind_url": public_url(config), "JupyterHub.log_level": config.hub.log_level}
    if config.hub.db_url:
        traits["JupyterHub.db_url"] = str(config.hub.db_url)
    if config.http.public_url:
        traits["JupyterHub.public_url"] = address(config)
    if config.http.subdomains:
        traits["JupyterHub.subdomain_host"] = config.http.public_host
        # Somebody's page at eve.lab.example.org could otherwise set cookies that the hub takes for its own. Browsers
        # keep such cookies over https only; without subdomains everybody's pages would be sent everybody's cookies.
        traits["JupyterHub.cookie_host_prefix_enabled"] = config.http.public_host.startswith("https:")
    return {
        "version": 1,
        "site": {"name": str(config.site.name), "language": config.site.language},
        "traits": {**traits, **config.traits()},
        "people": {
            "authenticator": str(config.people.authenticator),
            "group": str(config.people.group),
            "admins": list(config.people.admins),
            "admin_access": config.people.admin_access,
            "person": facts.person or None,
        },
        "servers": {
            "named": config.servers.named,
            "named_limit": config.servers.named_limit,
            "idle_timeout": config.servers.idle_timeout,
            "idle_check": min(IDLE_CHECK, config.servers.idle_timeout // 2)
            if config.servers.idle_timeout
            else IDLE_CHECK,
            "start_timeout": config.servers.start_timeout,
        },
        "members_check": config.hub.members_check,
        "layout": {
            "state": str(layout.hub_state),
            "database": str(layout.hub_database),
            "cookie_secret": str(layout.cookie_secret),
            "proxy_token": str(layout.hub_proxy_token),
            "hub_socket": str(layout.hub_socket),
            "proxy_api_socket": str(layout.proxy_api_socket),
            "warden_socket": str(layout.warden_socket),
            "servers": str(layout.servers_run),
        },
    }


def warden_settings(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> dict[str, Any]:
    """warden.json as data."""
    by_systemd = facts.system and facts.systemd_runs
    return {
        "version": 1,
        "hub_account": accounts.HUB_ACCOUNT if facts.system else facts.person,
        "person_account": facts.person or None,
        "group": str(config.people.group),
        "min_uid": facts.min_uid,
        # Only root can put a PAM service of our own in place; "other" is what PAM takes for programs without one.
        "pam_service": "manylab" if facts.system and str(layout.root) == "/" else "other",
        "web_group": accounts.PROXY_GROUP if facts.system else None,
        "socket": str(layout.warden_socket),
        "registry": str(layout.registry),
        "servers": str(layout.servers_run),
        "python": str(environments.python_of(envs[environments.HUB])),
        "command": [str(environments.python_of(envs[environments.SERVER])), "-I", "-m", "manylab.lab"],
        "path": [str(folder) for folder in jupyter.search_path(config, layout)],
        "environment": jupyter.variables(config, layout),
        "scopes": "systemd" if by_systemd else None,
        "slice": SLICE if by_systemd else None,
        "memory": config.servers.memory,
        "cpu": config.servers.cpu,
        "tasks": config.servers.tasks,
        "configured": configured(config, envs),
        "limits": {"groups": own_limits(config.limits.groups), "people": own_limits(config.limits.people)},
        "total": {"memory": total_memory(config, facts), "weight": WEIGHT},
        "log_dir": None if by_systemd else str(layout.logs),
        "nursery_account": accounts.NURSERY_ACCOUNT if facts.system else None,
        "nursery_run": str(layout.nursery_run),
        "nurseries": nurseries(config, envs),
        "private": str(layout.private) if facts.system and config.servers.private_tmp else None,
    }


def configured(config: Config, envs: Mapping[str, Environment]) -> dict[str, Any]:
    """The settings that a server keeps until it is restarted, in the form of the file; its limits are not here: they
    depend on the person (`own_limits`).

    `LAB` is the generation of the server environment, which a newer manylab changes too.
    """
    data = config.as_data()
    traits = {name: value for name, value in data["jupyterhub"].items() if walk.of_spawner(name)}
    found: dict[str, Any] = {LAB: envs[environments.SERVER].digest, "jupyterhub": traits}
    for setting in walk.settings():
        if setting.counts in ("server", "address") and len(setting.path) == 2 and setting.path not in LIMITED:
            table, name = setting.path
            found.setdefault(table, {})[name] = data[table][name]
    return found


def nurseries(config: Config, envs: Mapping[str, Environment]) -> list[dict[str, Any]]:
    """One for servers and one for each environment, where starts are warm."""
    if config.servers.start != "warm":
        return []
    server = envs[environments.SERVER]
    python = str(environments.python_of(server))
    modules = ["manylab.lab.server", "manylab.lab.rehearsal:prepare"]
    found: list[dict[str, Any]] = [
        {
            "name": "server",
            "kind": "server",
            "command": [python, "-I", "-m", "manylab.warm.nursery"],
            "modules": modules,
        }
    ]
    # Run by its path: nothing of manylab is in people's environments.
    program = f"{server.path}/lib/python{server.python_minor}/site-packages/manylab/warm/nursery.py"
    usual = jupyter.site_variables(config)
    for name, wanted in config.envs.items():
        if name in envs and wanted.start == "warm":
            command = [*environments.interpreter(envs[name]), program]
            modules = list(environments.preload(wanted))
            kernel = {"name": str(name), "kind": "kernel", "command": command, "modules": modules}
            found.append({**kernel, "environment": {**usual, **environments.variables(wanted)}})
    return found


def own_limits(tables: Mapping[str, OwnLimits]) -> dict[str, dict[str, Any]]:
    """By name, what is said: None is "no limit", and what is not said is not there."""
    names = ("memory", "cpu", "tasks")
    return {
        name: {limit: value for limit in names if (value := getattr(table, limit)) != "default"}
        for name, table in tables.items()
    }


def total_memory(config: Config, facts: Facts) -> int | None:
    """Bytes for all servers together; None for no limit."""
    wanted = config.servers.total_memory
    if not isinstance(wanted, str):
        return wanted
    least, most = _RESERVE
    left = facts.memory - min(max(facts.memory // 10, least), most)
    # On a machine with less than a gigabyte half of it is better than next to nothing.
    return max(left, facts.memory // 2) // _STEP * _STEP or None


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
