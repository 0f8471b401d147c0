"""The kinds of value that say where something is: hosts, paths of pages, URLs. Pure; each raises `Wrong`."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from manylab.config.values import Wrong, shown, text

_URL_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def host(value: Any) -> str:
    """An IP address or a hostname."""
    checked = text(value)
    try:
        return str(ipaddress.ip_address(checked))
    except ValueError:
        pass
    labels = checked.split(".")
    numeric = labels[-1].isdigit()
    if len(checked) > 253 or numeric or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        hint = 'such as "127.0.0.1" (only this machine), "0.0.0.0" (everybody, IPv4) or "::" (everybody, IPv6)'
        raise Wrong(f"{shown(checked)} is not an IP address or a hostname", hint)
    return checked


def is_address(name: str) -> bool:
    """Whether this is an IP address, not a hostname."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address. A hostname counts as reachable unless it is localhost."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def base_url(value: Any) -> str:
    """A path with a leading and a trailing slash: "wsl" -> "/wsl/"."""
    checked = text(value)
    segments = [segment for segment in checked.split("/") if segment]
    if any(segment in (".", "..") or not _URL_SEGMENT.fullmatch(segment) for segment in segments):
        hint = 'a path such as "/wsl", of letters, digits, "-", "_", "." and "~"'
        raise Wrong(f"{shown(checked)} cannot be the path of the site", hint)
    return "/" + "".join(segment + "/" for segment in segments)


def base_url_text(value: str) -> str:
    """As in the file: "/wsl"."""
    return value.rstrip("/") or "/"


def page(value: Any) -> str:
    """Where a person arrives inside their server: a path such as "/lab" or "/lab/tree/start.ipynb"."""
    checked = text(value)
    segments = checked.lstrip("/").split("/")
    plain = re.fullmatch(r"/(?:[A-Za-z0-9._~%+-]+/)*[A-Za-z0-9._~%+-]*(?:\?[A-Za-z0-9._~%+=&/-]*)?", checked)
    if plain is None or ".." in segments:
        raise Wrong(f"{shown(checked)} is not a page of a server", 'such as "/lab", "/tree" or "/lab/tree/start.ipynb"')
    return checked


def url(value: Any, schemes: tuple[str, ...]) -> str:
    """A URL with one of the schemes, or nothing. The value is never repeated in the error: it may hold a password."""
    checked = text(value)
    if not checked:
        return checked
    hint = "write it as " + " or ".join(f"{scheme}://..." for scheme in schemes)
    try:
        parts = urlsplit(checked)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        raise Wrong("is not a URL", hint) from None
    has_place = bool(parts.hostname) or (parts.scheme == "file" and parts.path.startswith("/"))
    if parts.scheme not in schemes or not has_place or not port_is_a_number or re.search(r"[\s\x00-\x1f\x7f]", checked):
        raise Wrong("is not a URL that can be used here", hint)
    return checked


def database(value: Any) -> str:
    """SQLAlchemy's URL of a database, or nothing. The value is never repeated in the error: it may hold a password."""
    checked = text(value)
    if not checked:
        return checked
    if not re.fullmatch(r"[a-z][a-z0-9]*(?:\+[a-z0-9_]+)?://\S+", checked):
        hint = 'such as "postgresql+psycopg://manylab@localhost/manylab", or "" for SQLite'
        raise Wrong("is not the URL of a database", hint)
    if checked.startswith("sqlite") and not re.match(r"sqlite(?:\+\w+)?:////", checked):
        # A relative file would depend on the hub's working directory (FIELD.md).
        raise Wrong("names no absolute file", 'four slashes: "sqlite:////srv/hub.sqlite", or "" for the usual place')
    return checked
