"""What no single setting can see: settings that are right one by one and wrong together. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from manylab.config import conda_packages, jupyterhub_names, packages
from manylab.config.addresses import is_address
from manylab.config.values import Wrong

if TYPE_CHECKING:
    from manylab.config.schema import Config
    from manylab.config.walk import Path


@dataclass(frozen=True)
class Finding:
    """path: the key to look at. needs: the other keys that the judgement rests on; void if one of them is wrong."""

    path: Path
    message: str
    hint: str
    needs: tuple[Path, ...] = ()


def findings(config: Config) -> Iterator[Finding]:
    yield from _https(config)
    yield from _address(config)
    yield from _dummy(config)
    yield from _public_url(config)
    yield from _hub_packages(config)
    yield from _environments(config)
    yield from _traits(config)


def _https(config: Config) -> Iterator[Finding]:
    certificate, key = config.https.certificate, config.https.key
    if certificate and not key:
        yield Finding(
            ("https", "certificate"), "there is a certificate and no key", "set https.key too", (("https", "key"),)
        )
    if key and not certificate:
        yield Finding(
            ("https", "key"),
            "there is a key and no certificate",
            "set https.certificate too",
            (("https", "certificate"),),
        )


def _address(config: Config) -> Iterator[Finding]:
    encrypted = config.https.certificate or config.https.key
    if config.http.loopback or encrypted or config.http.insecure:
        return
    yield Finding(
        ("http", "address"),
        f"others can reach {config.http.address}, and passwords would cross the network in the clear",
        "do one of three: set https.certificate and https.key; or use 127.0.0.1 behind a proxy that speaks https; or "
        "say http.insecure = true",
        (("http", "insecure"), ("https", "certificate"), ("https", "key")),
    )


def _dummy(config: Config) -> Iterator[Finding]:
    name = config.people.authenticator
    if not config.http.loopback and (name == "dummy" or name.endswith(":DummyAuthenticator")):
        yield Finding(
            ("people", "authenticator"),
            f"the dummy authenticator lets anybody be anybody, and others can reach {config.http.address}",
            'use "pam", or http.address = "127.0.0.1"',
            (("http", "address"),),
        )


def _public_url(config: Config) -> Iterator[Finding]:
    key, others = ("http", "public_url"), (("http", "base_url"),)
    if not config.http.public_url:
        if config.http.subdomains:
            hint = 'set http.public_url, such as "https://lab.example.org"'
            yield Finding(("http", "subdomains"), "there is no name for people's names to be below", hint, (key,))
        return
    parts = urlsplit(config.http.public_url)
    base_url = config.http.base_url
    if parts.path.strip("/") not in ("", base_url.strip("/")) or parts.query or parts.fragment:
        message = f"the site is served under {base_url}"
        yield Finding(key, message, f'end it with "{base_url}", or set http.base_url', others)
    if parts.username is not None:
        yield Finding(key, "has a name or password in it", "write only where the site is")
    if config.http.subdomains and is_address(parts.hostname or ""):
        yield Finding(key, "is a number, and there are no names below a number", "use a name of the DNS")


def _hub_packages(config: Config) -> Iterator[Finding]:
    for index, package in enumerate(config.hub.packages):
        if package in packages.SETS:
            message = f'"{package}" is a package set for people, not for the hub'
            yield Finding(("hub", "packages", index), message, "put it into envs.default.packages")


def _environments(config: Config) -> Iterator[Finding]:
    for setting in ("default", "terminal"):
        name = getattr(config.env, setting)
        if name not in config.envs:
            have = ", ".join(config.envs)
            yield Finding(("env", setting), f"there is no environment {name!r}", f"choose one of: {have}")
    for name in {"default", str(config.env.default), str(config.env.terminal)}:
        if name in config.envs and config.envs[name].groups:
            message = f"everybody needs {name}: it is the one of new notebooks or terminals"
            yield Finding(("envs", name, "groups"), message, "leave it out, or choose another in [env]")
    for name, wanted in config.envs.items():
        conda = wanted.backend == "conda"
        for index, item in enumerate(wanted.packages):
            try:
                (conda_packages.match_spec if conda else packages.requirement)(item)
            except Wrong as wrong:
                key = ("envs", name, "packages", index)
                yield Finding(key, wrong.message, wrong.hint, (("envs", name, "backend"),))
        if conda and wanted.source:
            message = "only the backend uv builds from source"
            yield Finding(("envs", name, "source"), message, "leave it out, or choose the other backend")
        if conda and not wanted.channels:
            yield Finding(("envs", name, "channels"), "there is no channel to take packages from", "name one")
        if wanted.logo and not str(wanted.logo).lower().endswith((".svg", ".png")):
            yield Finding(("envs", name, "logo"), "is neither an SVG nor a PNG file", "its name must end so")


def _traits(config: Config) -> Iterator[Finding]:
    for name in config.jupyterhub:
        if old := jupyterhub_names.covering(name):
            message = "is decided by another setting" if old.settings else "is decided by manylab"
            yield Finding(("jupyterhub", name), message, old.hint())
