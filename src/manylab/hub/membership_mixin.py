"""For every authenticator: whoever it lets in must also be a local account in the site's group, at all times."""

from __future__ import annotations

from typing import Any

from jupyterhub.auth import Authenticator
from tornado.web import HTTPError
from traitlets import Bool, Unicode

from manylab.base import names
from manylab.base.errors import BadName
from manylab.hub import sentences
from manylab.hub.membership import Members, Standing


class MembersOnly(Authenticator):  # type: ignore[misc]
    """Mixed in before a JupyterHub authenticator class.

    Four doors: signing in, every request (at most `auth_refresh_age` seconds old), starting a server, and (members.py)
    a look every few seconds at everybody who is in already.
    """

    site_group = Unicode("manylab", config=True, help="Members of this group of the machine may use the site.")
    site_person = Unicode("", config=True, help="When not empty, the one account that may use the site.")
    site_language = Unicode("auto", config=True, help="auto: what each person's browser asks for; else en or zh_CN.")
    keep_case = Bool(False, config=True, help="Refuse 'Alice' instead of taking it for 'alice'.")

    _members: Members | None = None

    @property
    def members(self) -> Members:
        if self._members is None:
            self._members = Members(self.site_group, self.site_person or None)
        return self._members

    def reader(self, handler: Any) -> str:
        """The languages of whoever reads the page that is being answered, as in Accept-Language."""
        if self.site_language != "auto":
            return str(self.site_language).replace("_", "-")
        request = getattr(handler, "request", None)
        return str(request.headers.get("Accept-Language", "")) if request is not None else ""

    def normalize_username(self, username: str) -> str:
        """Names of local accounts are what they are: whoever signs in as 'Alice' is not 'alice'."""
        if self.keep_case:
            return str(self.username_map.get(username, username))
        return str(super().normalize_username(username))

    def validate_username(self, username: str) -> bool:
        """Only what can be a local account's name ever gets into the hub's database."""
        try:
            names.account(username)
        except BadName:
            return False
        return bool(super().validate_username(username))

    async def get_authenticated_user(self, handler: Any, data: Any) -> Any:
        model = await super().get_authenticated_user(handler, data)
        if model is None:
            # JupyterHub's own sentence for a form is English; other ways of signing in say it themselves.
            if isinstance(data, dict) and "password" in data:
                raise self._refusal("wrong", self.reader(handler))
            return None
        standing = await self.members.standing(model["name"])
        if standing is not Standing.MEMBER:
            self.log.warning("Refused to sign in %s: %s of %s", model["name"], standing.value, self.site_group)
            reason = "unavailable" if standing is Standing.UNKNOWN else "not-member"
            raise self._refusal(reason, self.reader(handler))
        return model

    @staticmethod
    def _refusal(reason: str, language: str) -> HTTPError:
        status, sentence = sentences.login_refusal(reason, language)
        # tornado formats log_message with %: the sentence is passed as an argument.
        error = HTTPError(status, "%s", sentence)
        error.jupyterhub_message = sentence  # what JupyterHub shows on the page
        return error

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:
        standing = await self.members.standing(user.name)
        if standing in (Standing.LEFT, Standing.GONE):
            self.log.warning("%s is no longer a member (%s) and has to sign in again", user.name, standing.value)
            return False
        fresh = await super().refresh_user(user, handler)
        should = user.name in self.admin_users
        if fresh is True and bool(user.admin) != should:
            # The admin flag of an older database (or one set through the API) gives access to everybody's servers;
            # manylab's admins have a role instead, see settings.py.
            return {"name": user.name, "admin": should}
        return fresh

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        standing = await self.members.standing(user.name)
        if standing is not Standing.MEMBER:
            self.log.warning("Refused a server for %s: %s of %s", user.name, standing.value, self.site_group)
            error = HTTPError(403, "not a member of the site's group")
            error.jupyterhub_message = sentences.both("not-member")
            raise error
        hook = super().pre_spawn_start(user, spawner)
        if hook is not None:
            await hook


def for_members(authenticator: type[Authenticator]) -> type[Authenticator]:
    """The same authenticator (and its settings), for members of the site's group only."""
    if issubclass(authenticator, MembersOnly):
        return authenticator
    return type(f"{authenticator.__name__}ForMembers", (MembersOnly, authenticator), {"__module__": __name__})
