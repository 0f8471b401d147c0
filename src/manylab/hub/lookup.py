"""Which class belongs to `people.authenticator`."""

from __future__ import annotations

import importlib
import ipaddress
from urllib.parse import urlsplit

from jupyterhub.auth import Authenticator

from manylab.base.errors import ConfigError, Refused
from manylab.hub.membership_mixin import for_members

# name -> (class, the package of the hub environment that brings it)
KNOWN: dict[str, tuple[str, str]] = {
    "pam": ("manylab.hub.authenticator:WardenAuthenticator", "manylab"),
    "dummy": ("jupyterhub.auth:DummyAuthenticator", "jupyterhub"),
    "shared-password": ("jupyterhub.authenticators.shared:SharedPasswordAuthenticator", "jupyterhub"),
    "ldap": ("ldapauthenticator:LDAPAuthenticator", "jupyterhub-ldapauthenticator"),
    "oidc": ("oauthenticator.generic:GenericOAuthenticator", "oauthenticator"),
    "github": ("oauthenticator.github:GitHubOAuthenticator", "oauthenticator"),
    "gitlab": ("oauthenticator.gitlab:GitLabOAuthenticator", "oauthenticator"),
    "google": ("oauthenticator.google:GoogleOAuthenticator", "oauthenticator"),
    "azuread": ("oauthenticator.azuread:AzureAdOAuthenticator", "oauthenticator"),
    "cilogon": ("oauthenticator.cilogon:CILogonOAuthenticator", "oauthenticator"),
}
# These sign in with the name of a local account as it is typed; the others have names of their own, which JupyterHub
# makes small before they are looked up (or mapped with Authenticator.username_map).
LOCAL_NAMES = frozenset({"pam", "dummy", "shared-password"})


def is_loopback(url: str) -> bool:
    """Whether only this machine can reach the address."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix":
        return True
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authenticator_class(name: str, bind_url: str) -> type[Authenticator]:
    """The class for `people.authenticator`, limited to members of the site's group.

    Raises Refused for dummy (which asks for no password) on an address that others can reach; ConfigError when the
    class is not there.
    """
    if name == "dummy" and not is_loopback(bind_url):
        raise Refused(
            f"people.authenticator is dummy, which asks for no password, and others can reach {bind_url}",
            hint='use another authenticator, or http.address = "127.0.0.1"',
        )
    target, package = KNOWN.get(name, (name, ""))
    module_name, colon, class_name = target.partition(":")
    if not colon:
        raise ConfigError(
            f"people.authenticator: there is no {name!r}",
            hint=f"use one of {', '.join(KNOWN)}, or the class itself as package.module:Class",
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        hint = f"add {package} to the hub environment" if package else "is its package in the hub environment?"
        raise ConfigError(f"people.authenticator: {target} cannot be imported: {error}", hint=hint) from error
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise ConfigError(f"people.authenticator: {target} is not a JupyterHub authenticator")
    return for_members(found)
