"""Why a server was ended by somebody other than its owner: noted with it, and told its owner on the hub's pages.

It is kept in the spawner's state, so it outlives the hub, until the server is started again.
"""

from __future__ import annotations

import time
from typing import Any, Final

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.base import BaseHandler, UserUrlHandler
from jupyterhub.scopes import needs_scope

from manylab.hub import sentences

IDLE: Final = "idle"
ADMIN: Final = "admin"


class NotingServerHandler(UserServerAPIHandler):  # type: ignore[misc]
    """JupyterHub's requests to start and stop a server; notes who has it stopped."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def delete(self, user_name: str, server_name: str = "") -> None:
        user = self.find_user(user_name)
        if user is not None and (why := self._why(user)):
            spawner = user.spawners.get(server_name)
            if spawner is not None and spawner.ready:
                spawner.ended = {"why": why, "when": int(time.time())}
        await super().delete(user_name, server_name)

    def _why(self, user: Any) -> str | None:
        asks = self.current_user
        if getattr(asks, "kind", "") == "service":
            return IDLE if asks.name == self.settings["manylab_culler"] else ADMIN
        return ADMIN if asks is not None and asks.name != user.name else None


class SayingUrlHandler(UserUrlHandler):  # type: ignore[misc]
    """The hub's answer for a server that does not run; a program, such as a Lab that is still open, is told why."""

    def _fail_api_request(self, user_name: str = "", server_name: str = "") -> None:
        self.set_status(424)
        self.set_header("Content-Type", "application/json")
        asks = self.current_user
        why = ended(self, asks, server_name) if asks is not None and asks.name == user_name else ""
        self.finish({"message": why or sentences.say("not-running", reader(self)), "ended": bool(why)})


def reader(handler: Any) -> str:
    """The languages of whoever reads the page, as in Accept-Language."""
    return str(handler.authenticator.reader(handler))


def ended(handler: Any, user: Any, server_name: str) -> str:
    """The sentence about a server's end; "" where there is nothing to say."""
    # Looking at `spawners` makes a server of any name.
    if server_name and server_name not in user.orm_user.orm_spawners:
        return ""
    found = user.spawners[server_name].ended
    if not found or user.spawners[server_name].ready:
        return ""
    return sentences.ended(found, handler.settings["manylab_idle_timeout"], reader(handler))


def tell() -> None:
    """Give all pages of the hub what they need for it: `language` ("en" or "zh"), and `ended(server_name)`."""
    real = BaseHandler.template_namespace
    if getattr(real.fget, "of_manylab", False):
        return

    def template_namespace(self: Any) -> dict[str, Any]:
        user = self.current_user
        spawned = getattr(user, "spawners", None) is not None

        def of(server_name: str = "") -> str:
            return ended(self, user, server_name) if spawned else ""

        return {**real.fget(self), "language": sentences.language(reader(self)), "ended": of}

    template_namespace.of_manylab = True  # type: ignore[attr-defined]
    BaseHandler.template_namespace = property(template_namespace)
