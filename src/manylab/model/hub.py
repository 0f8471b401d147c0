"""hub.json and warden.json: what the hub and the warden are told.

Pure; `hub.settings` and `warden.settings` read them.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any

from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.model import accounts, environments, jupyter
from manylab.model.facts import Facts
from manylab.model.resources import Environment, File, Resource

# Seconds between two looks of the culler; jupyterhub-idle-culler's own default.
IDLE_CHECK = 300
# Slice of systemd below which every person's server has its scope.
SLICE = "manylab-servers.slice"


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
        "path": [str(folder) for folder in jupyter.search_path(layout)],
        "environment": jupyter.variables(config, layout),
        "scopes": "systemd" if by_systemd else None,
        "slice": SLICE if by_systemd else None,
        "memory": config.servers.memory,
        "cpu": config.servers.cpu,
        "tasks": config.servers.tasks,
        "log_dir": None if by_systemd else str(layout.logs),
    }


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
