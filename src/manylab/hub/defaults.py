"""JupyterHub's settings on a manylab site, each with its reason. Pure: data in, data out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manylab.base.command_token import SERVICE, command_token
from manylab.hub import environment, urls
from manylab.hub.proxy import SocketProxy
from manylab.hub.spawner import WardenSpawner

if TYPE_CHECKING:
    from manylab.hub.settings import HubSite

TEMPLATES = Path(__file__).with_name("templates")
ADMIN_ROLE = "manylab-admin"
CULLER = "manylab-culler"

# What an admin of the site may do. Not JupyterHub's own `admin` role, which cannot be narrowed and holds
# access:servers, tokens (a token for somebody else opens their server) and admin:users (renaming accounts: jane could
# become "bob"). People, groups and tokens are the machine's matter, through `manylab user`.
ADMIN_SCOPES = ["admin-ui", "list:users", "read:users", "read:servers", "start:servers", "delete:servers", "read:hub"]
ADMIN_ACCESS_SCOPES = ["access:servers"]
# Enough to see who is idle and to end their server, and nothing else.
# What `manylab restart --servers` needs.
COMMAND_SCOPES = ["list:users", "read:users:name", "read:servers", "start:servers", "delete:servers"]
CULLER_SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers"]


def settings(site: HubSite, proxy_token: str, cookie_secret: str) -> dict[str, Any]:
    """All of manylab's own settings, by JupyterHub's names; the site's `traits` are laid over them."""
    services = [{"name": SERVICE, "api_token": command_token(cookie_secret)}]
    if site.idle_timeout is not None:
        services.append(_culler(site))
    wanted = {**_addresses(site, proxy_token), **_people(site), **_servers(site), **_pages(site)}
    return {**wanted, "JupyterHub.services": services}


def _addresses(site: HubSite, proxy_token: str) -> dict[str, Any]:
    hub = urls.socket_url(str(site.layout["hub_socket"]))
    return {
        # Public address: here it only decides base_url and links; the proxy is told its own.
        "JupyterHub.bind_url": site.bind_url,
        # Unix sockets: no port to be taken, and none that another person of the machine could listen on first.
        "JupyterHub.hub_bind_url": hub,
        "JupyterHub.hub_connect_url": hub,
        "JupyterHub.subdomain_hook": urls.subdomain,
        # Also what is outside base_url: addresses from before it was changed (moved.py).
        "JupyterHub.hub_routespec": "/",
        # Everybody's server reports to the hub; each request carries a token.
        "JupyterHub.hub_socket_mode": 0o666,
        "JupyterHub.proxy_class": SocketProxy,
        "ConfigurableHTTPProxy.api_url": urls.socket_url(str(site.layout["proxy_api_socket"])),
        "ConfigurableHTTPProxy.auth_token": proxy_token,
        # A hundred servers that do not answer would keep the hub from speaking to the proxy: aiohttp's usual limit.
        "JupyterHubHTTPClient.connector_options": {"limit": 0},
        # systemd or the supervisor starts the proxy, under an account of its own.
        "ConfigurableHTTPProxy.should_start": False,
        # A restart of the hub ends nobody's server and takes no route away (jupyterhub#5107).
        "JupyterHub.cleanup_servers": False,
        "JupyterHub.cleanup_proxy": False,
        "JupyterHub.cookie_secret_file": str(site.layout["cookie_secret"]),
        "JupyterHub.db_url": f"sqlite:///{site.layout['database']}",
        # A newer JupyterHub may need a newer database. SQLite's file is copied beside itself first (and cannot go back:
        # rolling manylab back needs that copy, docs/how-to/backup-and-restore.md); PostgreSQL is the site's to back up.
        "JupyterHub.upgrade_db": True,
        # Headers on the hub's own pages, beside the frame-ancestors 'none' that JupyterHub sets itself.
        "JupyterHub.tornado_settings": {
            "headers": {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"},
            # For endings.py.
            "manylab_culler": CULLER,
            "manylab_idle_timeout": site.idle_timeout or 0,
        },
    }


def _roles(site: HubSite) -> list[dict[str, Any]]:
    admin = {
        "name": ADMIN_ROLE,
        "description": "Admin of the site",
        "scopes": [*ADMIN_SCOPES, *(ADMIN_ACCESS_SCOPES if site.admin_access else [])],
        # JupyterHub takes the role away from everybody who is not listed here.
        "users": site.admin_role_people,
    }
    command = {"name": SERVICE, "scopes": COMMAND_SCOPES, "services": [SERVICE]}
    culler = {"name": CULLER, "scopes": CULLER_SCOPES, "services": [CULLER]}
    return [admin, command] if site.idle_timeout is None else [admin, command, culler]


def _people(site: HubSite) -> dict[str, Any]:
    return {
        # Not "everybody": MembersOnly lets in members of the site's group only, at each of its four doors. Without
        # this, JupyterHub wants a second list of names beside the group (tljh#705).
        "Authenticator.allow_all": True,
        "Authenticator.any_allow_config": True,
        # Who is an admin is decided by the role; nobody has the flag that opens everything.
        "Authenticator.admin_users": set(),
        "JupyterHub.load_roles": _roles(site),
        "MembersOnly.site_group": site.group,
        "MembersOnly.site_person": site.person or "",
        "MembersOnly.site_language": site.language,
        "MembersOnly.keep_case": site.authenticator in ("pam", "dummy", "shared-password"),
        "WardenAuthenticator.warden_socket": str(site.layout["warden_socket"]),
        # Membership is looked at again on the first request after this many seconds, and before every start; with
        # strict, a token of somebody who left is refused too.
        "Authenticator.auth_refresh_age": 5,
        "Authenticator.auth_refresh_strict": True,
        "Authenticator.refresh_pre_spawn": True,
        # An account that is gone from the machine must not keep the hub from starting; members.py shuts its doors.
        "Authenticator.delete_invalid_users": True,
        # A week: half of JupyterHub's two, since a cookie is as good as the password.
        "JupyterHub.cookie_max_age_days": 7,
    }


def _servers(site: HubSite) -> dict[str, Any]:
    interval = site.activity_interval
    return {
        "JupyterHub.spawner_class": WardenSpawner,
        "WardenSpawner.warden_socket": str(site.layout["warden_socket"]),
        "WardenSpawner.servers_dir": str(site.layout["servers"]),
        "WardenSpawner.activity_interval": interval,
        # What the proxy saw is no use of a server (proxy.py); this is when routes are compared.
        "JupyterHub.last_activity_interval": interval,
        "JupyterHub.activity_resolution": min(30, interval),
        # Only what the warden accepts; PATH and the like are decided on its side.
        "Spawner.env_keep": environment.KEEP,
        "Spawner.start_timeout": site.start_timeout,
        # The server listens already when start returns; this is the time for its first answer on a busy machine.
        "Spawner.http_timeout": site.start_timeout,
        # A server that fails is that person's trouble; JupyterHub would end itself after some in a row.
        "Spawner.consecutive_failure_limit": 0,
        # How soon the hub notices that a server ended by itself.
        "Spawner.poll_interval": 10,
        # No limit here: the warden starts a few at a time, in the order in which they were asked for, and nobody is
        # told to come back later.
        "JupyterHub.concurrent_spawn_limit": 0,
        "JupyterHub.allow_named_servers": site.named,
        "JupyterHub.named_server_limit_per_user": site.named_limit,
    }


def _culler(site: HubSite) -> dict[str, Any]:
    timeout = site.idle_timeout or 0
    return {
        "name": CULLER,
        # -I: nothing of the environment or the working directory decides what is imported.
        "command": [sys.executable, "-I", "-m", "manylab.hub.culler"],
        "environment": {
            # JupyterHub 6.1 takes a hub on a unix socket for one that listens everywhere and tells services to connect
            # to "http+unix://127.0.0.1:<any port>" (Service.start), so the right address is given here.
            "JUPYTERHUB_API_URL": f"{urls.socket_url(str(site.layout['hub_socket']))}{_base_url(site)}hub/api",
            "MANYLAB_IDLE_TIMEOUT": str(timeout),
            "MANYLAB_IDLE_CHECK": str(max(1, min(site.idle_check, timeout // 2 or 1))),
            "MANYLAB_IDLE_FIRST": str(2 * site.activity_interval),
        },
    }


def _base_url(site: HubSite) -> str:
    path = "/" + site.bind_url.partition("://")[2].partition("/")[2]
    return path if path.endswith("/") else path + "/"


def _pages(site: HubSite) -> dict[str, Any]:
    return {
        "JupyterHub.template_paths": [str(TEMPLATES)],
        "JupyterHub.template_vars": {"site_name": site.name, "site_language": site.language},
    }
