"""How the hub keeps what a person's server shows it when somebody signs in to that server: its OAuth client's secret.

The secret is the server's API token, which JupyterHub has made (a random UUID) and keeps a second time among its
tokens, hashed once: there is nothing to guess, as orm.py says. As a secret it is hashed 16384 times, at the server's
start and again when its owner opens it. That is for secrets that people think of, such as a service's, and stays so for
those.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from jupyterhub.oauth import provider

# jupyterhub.utils.new_token: uuid4().hex
_GENERATED = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")


def hash_generated_once(module: Any = provider) -> None:
    """For all secrets that are kept from now on. One that is kept already says itself how often it was hashed."""
    if not hasattr(module.hash_token, "__wrapped__"):
        module.hash_token = _once(module.hash_token)


def _once(real: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(real)
    def hash_token(token: str, *rest: Any, **more: Any) -> str:
        if not rest and _GENERATED.fullmatch(token):
            more.setdefault("rounds", 1)
        return real(token, *rest, **more)

    return hash_token
