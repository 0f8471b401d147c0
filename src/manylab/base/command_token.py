"""The token by which the command line asks the hub to restart people's servers. Pure."""

from __future__ import annotations

import hmac
from typing import Final

SERVICE: Final = "manylab-command"


def command_token(cookie_secret: str) -> str:
    """Made from the hub's cookie secret, so that it needs no file of its own: who can read that one owns the hub."""
    return hmac.new(cookie_secret.strip().encode(), SERVICE.encode(), "sha256").hexdigest()
