"""JupyterHub's own names for what manylab decides: which setting to use, or why there is none.

Used three ways: to refuse them under [jupyterhub], where they would have no effect or take a safeguard away; to suggest
the right name for an unknown key; and to write docs/reference/jupyterhub-names.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OldName:
    """name: Class.trait, where Spawner, Authenticator and Proxy stand for their subclasses too; "*" is every trait.

    settings: what to use instead; empty when there is deliberately nothing, and then `why` says why.
    """

    name: str
    settings: tuple[str, ...]
    why: str

    def covers(self, name: str) -> bool:
        kind, _, trait = self.name.partition(".")
        other_kind, _, other_trait = name.partition(".")
        family = kind in ("Spawner", "Authenticator", "Proxy")
        same_kind = other_kind.endswith(kind) if family else other_kind == kind
        return same_kind and trait in ("*", other_trait)

    def hint(self) -> str:
        return "use " + " and ".join(self.settings) if self.settings else self.why


_SOCKET = "the hub listens on a unix socket that only the proxy and people's servers need to find; no port, no address"
_WARDEN = "the warden starts every server and decides the program itself, from a file that only root can change"
_SECRET = "manylab makes this secret itself, keeps it in a 0600 file and never passes it in a command line"  # noqa: S105
_RESTART = "people's servers, and the proxy, go on through a restart of the hub"
_LIVE = "membership of the group is checked live: who leaves it loses servers and tokens at once, without a restart"
_PAM = "PAM is asked by the warden, with the service file /etc/pam.d/manylab, since the hub has no power to"

NAMES: tuple[OldName, ...] = (
    OldName("JupyterHub.base_url", ("http.base_url",), "The same meaning."),
    OldName("JupyterHub.ip", ("http.address",), "Any but a loopback address also needs [https] or http.insecure."),
    OldName("JupyterHub.port", ("http.port",), "The same meaning."),
    OldName("JupyterHub.bind_url", ("http.address", "http.port", "http.base_url"), "manylab puts it together."),
    OldName("JupyterHub.public_url", ("http.public_url",), "The same meaning."),
    OldName("JupyterHub.subdomain_host", ("http.public_url", "http.subdomains"), "The proxy has to know of it too."),
    OldName("JupyterHub.ssl_cert", ("https.certificate",), "The same meaning."),
    OldName("JupyterHub.ssl_key", ("https.key",), "The same meaning."),
    OldName("JupyterHub.db_url", ("hub.db_url",), "Empty is SQLite in the state folder."),
    OldName("JupyterHub.log_level", ("hub.log_level",), "Also for the proxy and the warden."),
    OldName("JupyterHub.authenticator_class", ("people.authenticator",), "dummy only on a loopback address."),
    OldName("JupyterHub.admin_access", ("people.admin_access",), "Every use is logged."),
    OldName("JupyterHub.allow_named_servers", ("servers.named",), "The same meaning."),
    OldName("JupyterHub.named_server_limit_per_user", ("servers.named_limit",), "The same meaning."),
    OldName("JupyterHub.hub_ip", (), _SOCKET),
    OldName("JupyterHub.hub_port", (), _SOCKET),
    OldName("JupyterHub.hub_bind_url", (), _SOCKET),
    OldName("JupyterHub.hub_connect_ip", (), _SOCKET),
    OldName("JupyterHub.hub_connect_url", (), _SOCKET),
    OldName("JupyterHub.spawner_class", (), _WARDEN),
    OldName("JupyterHub.proxy_class", (), "manylab supervises the proxy and speaks to it over a unix socket"),
    OldName("JupyterHub.cookie_secret", (), _SECRET),
    OldName("JupyterHub.cookie_secret_file", (), _SECRET),
    OldName("JupyterHub.proxy_auth_token", (), _SECRET),
    OldName("JupyterHub.pid_file", (), "services know their processes; a pid file would depend on a working directory"),
    OldName("JupyterHub.hub_socket_mode", (), _SOCKET),
    OldName("JupyterHub.cleanup_servers", (), _RESTART),
    OldName("JupyterHub.cleanup_proxy", (), _RESTART),
    OldName("Authenticator.admin_users", ("people.admins",), "Names of accounts."),
    OldName("Authenticator.allowed_users", ("people.group",), "Members of the group may sign in: `manylab user add`."),
    OldName("Authenticator.allow_all", ("people.group",), "Members of the group may sign in, nobody else."),
    OldName("Authenticator.any_allow_config", ("people.group",), "Members of the group may sign in, nobody else."),
    OldName("Authenticator.admin_groups", ("people.admins",), "Names of accounts."),
    OldName("Authenticator.auth_refresh_age", ("hub.members_check",), "Membership of the group is checked live."),
    OldName("Authenticator.auth_refresh_strict", (), _LIVE),
    OldName("Authenticator.refresh_pre_spawn", (), _LIVE),
    OldName(
        "Authenticator.delete_invalid_users",
        (),
        _LIVE,
    ),
    OldName("PAMAuthenticator.*", (), _PAM),
    OldName("WardenAuthenticator.*", (), "manylab connects its own parts"),
    OldName("WardenSpawner.*", (), "manylab connects its own parts"),
    OldName("MembersOnly.*", (), "manylab connects its own parts"),
    OldName("Spawner.cmd", (), _WARDEN),
    OldName("Spawner.args", (), _WARDEN),
    OldName("Spawner.env_keep", (), _WARDEN),
    OldName("Spawner.environment", ("servers.environment",), "The warden passes nothing else on."),
    OldName(
        "Spawner.notebook_dir",
        (),
        "a server starts in its person's home, the one folder that is surely theirs; servers.default_url can open a "
        "folder or notebook below it",
    ),
    OldName("Spawner.default_url", ("servers.default_url",), "The same meaning."),
    OldName("Spawner.mem_limit", ("servers.memory",), "Held by the kernel (cgroups), with all the server started."),
    OldName("Spawner.cpu_limit", ("servers.cpu",), "Held by the kernel (cgroups), with all the server started."),
    OldName("Spawner.start_timeout", ("servers.start_timeout",), "The same meaning."),
    OldName("Spawner.http_timeout", ("servers.start_timeout",), "One time limit for both."),
    OldName("Spawner.ip", (), "servers listen on unix sockets in folders of their own"),
    OldName("Spawner.port", (), "servers listen on unix sockets in folders of their own"),
    OldName("Proxy.auth_token", (), _SECRET),
    OldName("Proxy.command", (), "manylab supervises the proxy"),
    OldName("Proxy.api_url", (), "manylab supervises the proxy and speaks to it over a unix socket"),
    OldName("Proxy.should_start", (), "manylab supervises the proxy"),
)


def covering(name: str) -> OldName | None:
    """What is known of a Class.trait that manylab decides itself; None when it is free to be set."""
    return min((old for old in NAMES if old.covers(name)), key=lambda old: old.name.endswith("*"), default=None)


def setting_for(trait: str) -> str:
    """The setting that is meant by the bare name of a trait, such as mem_limit; "" when there is none."""
    found = next((old for old in NAMES if old.settings and old.name.partition(".")[2] == trait), None)
    return found.settings[0] if found else ""
