"""What a person's server answers when the hub looks whether it is there: anything at all, since it is theirs.

JupyterHub looks at all servers while it starts, and what one of them answers must not end that: of what it does not
expect it only takes that there was no answer in time.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub import user


def trust_nobody(module: Any = user) -> None:
    """Put that in place, for all servers that are waited for from now on."""
    if not hasattr(module._check_version, "__wrapped__"):
        module._check_version = _any_version(module._check_version)
        module.User._wait_up = _in_time(module.User._wait_up)


def _any_version(real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def check_version(hub: str, server: str | None, log: Any) -> None:
        try:
            real(hub, server, log)
        except ValueError:  # InvalidVersion is one, and so is a number of 5000 digits
            log.warning("a server says that its JupyterHub has the version %.40r", server)

    return check_version


def _in_time(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(real)
    async def wait_up(self: Any, spawner: Any) -> Any:
        looking = spawner._check_pending  # the hub starts, and this server may have been there before
        try:
            return await real(self, spawner)
        except TimeoutError:
            raise
        except Exception as error:
            if not looking:
                raise
            raise TimeoutError(f"the server of {spawner._log_name} answers with {type(error).__name__}") from error

    return wait_up
