"""hub.json, which `model` renders from manylab.toml, and what becomes of it in JupyterHub.

```json
{
  "version": 1,
  "site": {"name": "Physics lab", "language": "auto"},
  "traits": {"JupyterHub.bind_url": "http://127.0.0.1:8000/wsl/", "JupyterHub.concurrent_spawn_limit": 50},
  "people": {"authenticator": "pam", "group": "manylab", "admins": ["jane"], "admin_access": false, "person": null},
  "servers": {"named": false, "named_limit": 5, "idle_timeout": 3600, "idle_check": 300, "start_timeout": 120},
  "members_check": 5,
  "layout": {
    "state": "/var/lib/manylab/hub", "database": "/var/lib/manylab/hub/jupyterhub.sqlite",
    "cookie_secret": "/var/lib/manylab/hub/cookie_secret", "proxy_token": "/var/lib/manylab/hub/proxy_token",
    "hub_socket": "/run/manylab/hub/hub.sock", "proxy_api_socket": "/run/manylab/proxy/api.sock",
    "warden_socket": "/run/manylab/warden/warden.sock", "servers": "/run/manylab/servers"
  }
}
```

Times are seconds. `servers.idle_timeout` null or 0: servers are never ended for being idle. `site.language`: auto
(each person's browser's), en or zh_CN. `people.person`: the one account of an ordinary user's site, else null.
`proxy_token` is a file that holds the token alone. `traits` are settings of JupyterHub by their own names; they are
applied last and win, except that the lists JupyterHub.services and JupyterHub.load_roles are added to manylab's own,
and tables are merged with them. Every key but `version` and `layout` may be left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manylab.base.errors import ConfigError
from manylab.hub import defaults
from manylab.hub.lookup import authenticator_class

VERSION = 1
_PATHS = (
    "state",
    "database",
    "cookie_secret",
    "proxy_token",
    "hub_socket",
    "proxy_api_socket",
    "warden_socket",
    "servers",
)
_ADDED_TO = frozenset({"JupyterHub.services", "JupyterHub.load_roles"})


@dataclass(frozen=True)
class HubSite:
    """hub.json, checked."""

    traits: dict[str, Any]
    layout: dict[str, Path]
    name: str = "manylab"
    language: str = "auto"
    authenticator: str = "pam"
    group: str = "manylab"
    admins: tuple[str, ...] = ()
    admin_access: bool = False
    person: str | None = None
    named: bool = False
    named_limit: int = 5
    idle_timeout: int | None = None
    idle_check: int = 300
    start_timeout: int = 120
    members_check: float = 5.0

    @property
    def state(self) -> Path:
        return self.layout["state"]

    @property
    def bind_url(self) -> str:
        return str(self.traits.get("JupyterHub.bind_url", "http://127.0.0.1:8000/"))

    @property
    def admin_role_people(self) -> list[str]:
        """Admins of the site; the person of a one-person site is its admin."""
        return sorted({*self.admins, *([self.person] if self.person else [])})

    @property
    def activity_interval(self) -> int:
        """Seconds between two reports of activity.

        The culler never ends a server sooner than two of these after its last activity (a report may be that old), so a
        short idle_timeout needs a short interval; JupyterHub's own 300 is the most.
        """
        return 300 if self.idle_timeout is None else max(5, min(300, self.idle_timeout // 4))


def parse(data: Any, source: str = "hub.json") -> HubSite:
    """The checked form. Raises ConfigError naming every missing path."""
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ConfigError(f"{source} is not of version {VERSION}", hint="run `manylab apply` to render it again")
    layout: dict[str, Any] = data["layout"] if isinstance(data.get("layout"), dict) else {}
    traits: dict[str, Any] = data.get("traits", {})
    missing = [name for name in _PATHS if not isinstance(layout.get(name), str)]
    missing += [f"traits.{name}" for name in traits if name.count(".") != 1]
    if missing:
        raise ConfigError(
            f"{source}: missing or wrong: {', '.join(missing)}", hint="run `manylab apply`", problems=missing
        )
    people, servers = data.get("people", {}), data.get("servers", {})
    try:
        return HubSite(
            traits=dict(traits),
            layout={name: Path(layout[name]) for name in _PATHS},
            name=data.get("site", {}).get("name", "manylab"),
            language=data.get("site", {}).get("language", "auto"),
            members_check=float(data.get("members_check", 5)),
            **{**people, "admins": tuple(people.get("admins", ()))},
            **{**servers, "idle_timeout": servers.get("idle_timeout") or None},
        )
    except TypeError as error:
        raise ConfigError(f"{source}: {error}", hint="run `manylab apply` to render it again") from error


def read(path: Path) -> HubSite:
    """Reads and checks hub.json. Raises ConfigError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="run `manylab apply` to render it again") from error
    return parse(data, str(path))


def configure(c: Any, site: HubSite) -> None:
    """Sets JupyterHub's configuration: manylab's own settings first, then the site's `traits`, which win."""
    token = site.layout["proxy_token"].read_text(encoding="ascii").strip()
    secret = site.layout["cookie_secret"].read_text(encoding="ascii")
    wanted = defaults.settings(site, token, secret)
    wanted["JupyterHub.authenticator_class"] = authenticator_class(site.authenticator, site.bind_url)
    for name, value in site.traits.items():
        if name in _ADDED_TO and isinstance(value, list):
            wanted[name] = [*wanted.get(name, []), *value]
        elif isinstance(value, dict) and isinstance(wanted.get(name), dict):
            wanted[name] = {**wanted[name], **value}
        else:
            wanted[name] = value
    for name, value in wanted.items():
        section, _, trait = name.partition(".")
        setattr(c[section], trait, value)
