"""Known vulnerabilities of packages, asked of the JSON interface that the Python package index has (PEP 691 has none).

Mirrors of the index rarely have it. It is asked where the site's index is, then at the public one.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

from pip._internal.models.index import PyPI

from manylab.base.errors import AdvisoriesUnavailable

# Where a site with no index of its own gets its packages from.
_PUBLIC = urlsplit(PyPI.simple_url)
_TIMEOUT = 15.0
_AT_ONCE = 8
# Seconds after which an answer has to have brought so many bytes a second.
_PATIENCE, _SLOWEST = 30.0, 1024
# An answer about one version is some ten kilobytes; a stream without end is somebody's joke.
_LARGEST = 8 << 20

# (name, version)
Pinned = tuple[str, str]


@dataclass(frozen=True)
class Advisory:
    """One known vulnerability. fixed: versions without it. aliases: its other names (CVE-...)."""

    package: str
    version: str
    name: str
    aliases: tuple[str, ...]
    summary: str
    fixed: tuple[str, ...]


def known(packages: Sequence[Pinned], network: Mapping[str, str]) -> tuple[list[Advisory], list[Pinned]]:
    """Vulnerabilities of these versions, and those of which the source knows nothing (not public, say).

    Raises AdvisoriesUnavailable when no source answers.
    """
    opened = opener(network)
    tried = []
    for source in sources(network):
        try:
            answers = _ask(opened, source, packages)
            if packages and all(answer is None for answer in answers):
                raise ValueError("it has no list of vulnerabilities")
        except (OSError, ValueError) as error:
            tried.append(f"{urlsplit(source).hostname}: {_reason(error)}")
            continue
        both = list(zip(packages, answers, strict=True))
        found = [item for one, answer in both for item in _read(one, answer)]
        return found, [one for one, answer in both if answer is None]
    raise AdvisoriesUnavailable(
        f"known vulnerabilities could not be asked for ({'; '.join(tried)}): nothing is known about these packages",
        hint="set mirrors.proxy or HTTPS_PROXY, or run it where the public package index can be reached",
    )


def sources(network: Mapping[str, str]) -> tuple[str, ...]:
    """Addresses below which NAME/VERSION/json is: beside the site's index, then beside the public one."""
    own = network.get("UV_DEFAULT_INDEX", "")
    found = [_beside(urlsplit(own))] if own.startswith(("http://", "https://")) else []
    return tuple(dict.fromkeys([*found, _beside(_PUBLIC)]))


def _beside(parts: Sequence[str]) -> str:
    scheme, place, path = parts[:3]
    return urlunsplit((scheme, place, f"{path.rstrip('/').removesuffix('/simple')}/pypi", "", ""))


def opener(network: Mapping[str, str]) -> OpenerDirector:
    """What opens addresses by the proxies and certificate authorities that are set."""
    proxies = {name: network[f"{name}_proxy"] for name in ("http", "https") if network.get(f"{name}_proxy")}
    proxies = {
        name: network[f"{name.upper()}_PROXY"] for name in ("http", "https") if network.get(f"{name.upper()}_PROXY")
    } | proxies
    bundle = network.get("SSL_CERT_FILE", "")
    context = ssl.create_default_context(cafile=bundle if bundle and Path(bundle).is_file() else None)
    return build_opener(ProxyHandler(proxies), HTTPSHandler(context=context))


def pieces(answer: Any) -> Iterator[bytes]:
    """What an answer brings, piece by piece. Raises OSError when that is next to nothing: each byte resets the limit
    that a connection has.
    """
    began, size = time.monotonic(), 0
    while data := answer.read1(1 << 20):
        size += len(data)
        seconds = time.monotonic() - began
        if seconds > _PATIENCE and size < _SLOWEST * seconds:
            raise OSError(f"it sent {size} bytes in {seconds:.0f} seconds")
        yield data


def _ask(opener: OpenerDirector, source: str, packages: Sequence[Pinned]) -> list[Any]:
    """The source's answer about each, None where it knows nothing. Raises OSError or ValueError."""

    def one(package: Pinned) -> Any:
        name, version = package
        try:
            with opener.open(f"{source}/{quote(name)}/{quote(version)}/json", timeout=_TIMEOUT) as answer:
                text = b""
                for piece in pieces(answer):
                    text += piece
                    if len(text) > _LARGEST:
                        break
        except HTTPError as error:
            if error.code == 404:
                return None
            raise
        said = json.loads(text) if len(text) <= _LARGEST else None
        if not isinstance(said, dict) or not isinstance(said.get("vulnerabilities"), list):
            raise ValueError("it answers with something else than a list of vulnerabilities")
        return said

    # The first alone: a source that cannot be reached is waited for once, not once for each package.
    answers = [one(package) for package in packages[:1]]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return answers + list(pool.map(one, packages[1:]))


def _read(package: Pinned, answer: Any) -> list[Advisory]:
    found = []
    for item in (answer or {}).get("vulnerabilities", ()):
        if isinstance(item, dict) and not item.get("withdrawn"):
            summary = str(item.get("summary") or item.get("details") or "").strip().splitlines()
            found.append(
                Advisory(
                    *package,
                    str(item.get("id", "")),
                    tuple(map(str, item.get("aliases") or ())),
                    summary[0][:200] if summary else "",
                    tuple(map(str, item.get("fixed_in") or ())),
                )
            )
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"status {error.code}"
    return str(error.reason) if isinstance(error, URLError) else str(error) or type(error).__name__
