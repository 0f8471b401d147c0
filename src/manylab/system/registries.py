"""How package registries are reached: the usual variables and files of pip, uv and npm, and the site's own [mirrors].

No address of a registry is written here; each tool knows its own default.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manylab.system.run import network_environment

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Mirrors:
    """The site's own choice, each "" for none. proxy: for HTTP and HTTPS.

    ca_bundle: a file of certificate authorities.
    """

    pypi: str = ""
    npm: str = ""
    proxy: str = ""
    ca_bundle: str = ""


def environment(
    mirrors: Mirrors, *, caller: Mapping[str, str] | None = None, pip_files: tuple[Path, ...] | None = None
) -> dict[str, str]:
    """Environment variables for uv and npm, from the site's settings, then the caller's variables, then pip's files."""
    found = dict(network_environment() if caller is None else caller)
    pip = _pip_settings(_pip_files() if pip_files is None else pip_files)
    if mirrors.proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            found[name] = mirrors.proxy
    index = (
        mirrors.pypi
        or found.get("UV_DEFAULT_INDEX")
        or found.get("UV_INDEX_URL")
        or found.get("PIP_INDEX_URL")
        or pip.get("index-url", "")
    )
    found.pop("UV_INDEX_URL", None)
    if index:
        found["UV_DEFAULT_INDEX"] = found["PIP_INDEX_URL"] = index
    bundle = (
        mirrors.ca_bundle
        or found.get("SSL_CERT_FILE")
        or found.get("PIP_CERT")
        or found.get("REQUESTS_CA_BUNDLE")
        or pip.get("cert", "")
    )
    if bundle:
        found["SSL_CERT_FILE"] = bundle
        found.setdefault("NODE_EXTRA_CA_CERTS", bundle)
    elif SYSTEM_CERTIFICATES.exists():
        # A company's own authority is usually in the system's store: use that rather than what uv and Node carry.
        found["UV_SYSTEM_CERTS"] = "1"
        found.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    found.pop("UV_NATIVE_TLS", None)  # uv's older name, which it warns about
    if mirrors.npm:
        found["npm_config_registry"] = mirrors.npm
    return found


def with_indexes(network: Mapping[str, str], indexes: Sequence[str]) -> dict[str, str]:
    """The network of an environment that has indexes of its own: uv asks those first."""
    first = " ".join([*indexes, *network.get("UV_INDEX", "").split()])
    return {**network, "UV_INDEX": first} if indexes else dict(network)


def _pip_files() -> tuple[Path, ...]:
    home = Path(os.environ.get("HOME", "/nonexistent"))
    named = os.environ.get("PIP_CONFIG_FILE")
    usual = (
        Path("/etc/pip.conf"),
        Path("/etc/xdg/pip/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
    )
    return (*usual, Path(named)) if named else usual


def _pip_settings(files: tuple[Path, ...]) -> dict[str, str]:
    """The [global] table of pip's configuration files, later files first to win, as pip does it."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    for path in files:
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
    return dict(parser["global"]) if parser.has_section("global") else {}
