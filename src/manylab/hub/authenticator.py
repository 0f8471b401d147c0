"""Signing in with the accounts of the machine. The hub has no power to ask PAM; the warden does it."""

from __future__ import annotations

from typing import Any

from traitlets import Float, Unicode

from manylab.base import names
from manylab.base.errors import BadName, WardenUnavailable
from manylab.hub.membership_mixin import MembersOnly
from manylab.system import warden_client

_LOGGED = 80  # characters


class WardenAuthenticator(MembersOnly):
    """Asks the warden whether this is the right password of a member of the site's group.

    It logs the warden's reason (never the password) and shows a sentence that gives nothing away, see sentences.py.
    """

    warden_socket = Unicode("", config=True, help="The unix socket of the warden.")
    warden_timeout = Float(60.0, config=True, help="Seconds to wait; PAM may ask a far-away server.")

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        user, password = data.get("username", ""), data.get("password", "")
        language = self.reader(handler)
        try:
            names.account(user)
        except BadName:
            # Not sent on: it can be no account's name.
            self.log.warning("Refused to sign in %.*r: not an account's name", _LOGGED, user)
            raise self._refusal("unknown", language) from None
        question = {"do": "authenticate", "user": user, "password": password}
        try:
            answer = await warden_client.ask(self.warden_socket, question, self.warden_timeout)
        except WardenUnavailable as error:
            self.log.error("The warden does not answer, nobody can sign in: %s", error.message)
            raise self._refusal("unavailable", language) from None
        if answer.get("ok") is True and isinstance(answer.get("user"), str):
            return str(answer["user"])
        reason = str(answer.get("reason", "error"))
        self.log.warning("Refused to sign in %s: %s", user, reason)
        raise self._refusal(reason, language)
