"""How the worker reaches channels: mirrors, certificates and the sentences for what goes wrong. Worker only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from rattler import Channel, Client, Config
from rattler.exceptions import InvalidChannelError

from manylab.base.errors import DownloadFailed, EnvironmentFailed

# The word that stands for all channels that are given by name instead of by address.
NAMED = "*"

HINT = (
    "check the network; set HTTPS_PROXY and SSL_CERT_FILE, or mirrors.channels, mirrors.proxy and mirrors.ca_bundle in "
    "manylab.toml, then run it again"
)


def address(channel: str) -> str:
    """The address of a channel that is given by name or by address, without a slash at the end."""
    try:
        return Channel(channel).base_url.rstrip("/")
    except InvalidChannelError as error:
        raise EnvironmentFailed(f"{channel} is not a channel: {error}", hint="give its name or its address") from error


def make_client(mirrors: Mapping[str, str]) -> Client:
    """A client that goes to the mirrors instead of the channels. Proxies and passwords come from the usual places.

    Only the client's requests change: records keep the address of the channel, and so does the lock.
    """
    replaced = {
        (address("x").removesuffix("/x") if channel == NAMED else address(channel)): [mirror.rstrip("/")]
        for channel, mirror in mirrors.items()
        if mirror
    }
    system = bool(os.environ.get("SSL_CERT_FILE") or os.environ.get("UV_SYSTEM_CERTS"))
    lines = [f'tls-root-certs = "{"system" if system else "webpki"}"', "[mirrors]"]
    lines += [f"{json.dumps(channel)} = {json.dumps(places)}" for channel, places in replaced.items()]
    return Client.from_config(Config.from_toml("\n".join(lines)), max_retries=3, user_agent="manylab")


def unreachable(what: str, error: BaseException) -> DownloadFailed:
    """The failure of a request in the terms of the person who waits for it."""
    return DownloadFailed(f"{what}: {reason(error)}", hint=HINT)


def reason(error: BaseException) -> str:
    """rattler's chain of causes on one line."""
    lines = [line.removeprefix("Caused by: ").strip() for line in str(error).splitlines()]
    return "; ".join(filter(None, lines)) or type(error).__name__
