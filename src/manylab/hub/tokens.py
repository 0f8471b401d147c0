"""Tokens that people ask for are few and their notes short: JupyterHub limits neither, and one person could fill the
disk of the hub. Its own tokens, for servers and for who enters them, are made elsewhere and are not refused.
"""

from __future__ import annotations

import json
from typing import Any, Final

from jupyterhub import orm
from jupyterhub.apihandlers.users import UserTokenListAPIHandler
from tornado.web import HTTPError

# Characters of a note; tokens of one person; characters of the list of a token's scopes.
NOTE: Final = 200
MOST: Final = 100
SCOPES: Final = 8000


class FewTokensHandler(UserTokenListAPIHandler):  # type: ignore[misc]
    """The API to list and make tokens, which the form of the token page uses as well."""

    async def post(self, user_name: str) -> None:
        if reason := unfit(self.get_json_body()):
            raise HTTPError(400, reason)
        await super().post(user_name)

    def get_scope_filter(self, req_scope: str) -> Any:
        """JupyterHub asks this for whom the sender may make tokens; then it makes one, with nothing in between. So
        strangers learn nothing from the answer, and two requests at once are not both the last.
        """
        may = super().get_scope_filter(req_scope)
        if self.request.method != "POST" or req_scope != "tokens":
            return may

        def may_and_has_room(user: Any, kind: str) -> bool:
            if not may(user, kind=kind):
                return False
            if not has_room(self.db, user.id):
                page = f"{self.hub.base_url}token"
                raise HTTPError(409, f"{user.name} has {MOST} tokens, and no more are made; revoke some at {page}")
            return True

        return may_and_has_room


def unfit(body: Any) -> str:
    """Why a token is not made from this, or "". What else may be wrong with it JupyterHub finds out. Pure."""
    if not isinstance(body, dict):
        return ""
    note = body.get("note") or ""
    if not isinstance(note, str):
        return "the note of a token is text"
    if len(note) > NOTE:
        return f"the note of a token has at most {NOTE} characters, and this has {len(note)}"
    if len(json.dumps(body.get("scopes"))) > SCOPES:
        return f"the list of a token's scopes has at most {SCOPES} characters"
    return ""


def has_room(db: Any, user_id: int) -> bool:
    """Whether this person may have one more token. Expired ones, if that is what is too many, are deleted."""
    # Nothing but their notes, which people choose, tells tokens of servers from others; each server that runs has one.
    servers = db.query(orm.Spawner).filter(orm.Spawner.user_id == user_id, orm.Spawner.server_id.isnot(None)).count()
    # Others belong to a server's OAuth client.
    tokens = db.query(orm.APIToken).filter_by(user_id=user_id, client_id="jupyterhub")
    if tokens.count() < MOST + servers:
        return True
    for token in tokens.filter(orm.APIToken.expires_at < orm.APIToken.now()):
        db.delete(token)
    db.commit()
    return bool(tokens.count() < MOST + servers)
