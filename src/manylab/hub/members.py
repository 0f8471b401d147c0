"""Whoever leaves the site's group loses servers, tokens and sessions within seconds, without a restart of the hub.

A task inside the hub's process (app.py starts it). What to do about whom is decided by `todo`, which is pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import new_token

from manylab.hub.membership import Members, Standing


def todo(standings: Mapping[str, Standing], gone_before: set[str], done: set[str], busy: Iterable[str]) -> set[str]:
    """Who is to be shut out now.

    gone_before: whose account was missing at the last look too; a directory that hiccups once ends nobody's work.
    done: who was shut out already. busy: whoever has a server or tokens, and so has to be looked after again even then.
    """
    out = {name for name, standing in standings.items() if standing is Standing.LEFT}
    out |= {name for name, standing in standings.items() if standing is Standing.GONE and name in gone_before}
    return {name for name in out if name not in done or name in set(busy)}


class MembersWatch:
    """Looks every `every` seconds at everybody in the hub's database."""

    def __init__(self, app: Any, members: Members, every: float) -> None:
        self.app = app
        self.members = members
        self.every = every
        self.log = app.log
        self._gone: set[str] = set()
        self._done: set[str] = set()

    async def watch(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.look()
            except Exception:
                self.log.exception("Looking at who is still a member failed; trying again")
                self.app.db.rollback()
            await asyncio.sleep(self.every)

    async def look(self) -> None:
        """One look, and whatever follows from it."""
        people = [name for (name,) in self.app.db.query(orm.User.name)]
        standings = await self.members.standings(people)
        names = todo(standings, self._gone, self._done, self._busy())
        self._gone = {name for name, standing in standings.items() if standing is Standing.GONE}
        self._done = {name for name in self._done if standings.get(name) in (Standing.LEFT, Standing.GONE)}
        for name in sorted(names):
            self._shut(name, standings[name])
            self._done.add(name)
        await asyncio.gather(*(self._stop_servers(name) for name in names))

    def _busy(self) -> set[str]:
        """Whoever has a token (each running server has one)."""
        query = self.app.db.query(orm.User.name).join(orm.APIToken, orm.APIToken.user_id == orm.User.id).distinct()
        running = {user.name for user in self.app.users.values() if user.active}
        return {name for (name,) in query} | running

    def _shut(self, name: str, standing: Standing) -> None:
        """Ends every session and token of one person. Cookies hold the cookie_id: a new one makes all of them void."""
        db = self.app.db
        user = orm.User.find(db, name)
        if user is None:
            return
        user.cookie_id = new_token()
        tokens = db.query(orm.APIToken).filter(orm.APIToken.user_id == user.id)
        # A running server's own token goes with the server: `User.stop` looks for it.
        for token in tokens:
            db.delete(token)
        db.query(orm.OAuthCode).filter(orm.OAuthCode.user_id == user.id).delete()
        db.commit()
        why = "has left the group" if standing is Standing.LEFT else "has no account any more"
        self.log.warning("%s %s: sessions and tokens are ended, servers are being stopped", name, why)

    async def _stop_servers(self, name: str) -> None:
        if name not in self.app.users:
            return
        user = self.app.users[name]
        for server_name, spawner in list(user.spawners.items()):
            # One that is starting is stopped at the next look, when it has started or failed.
            if not spawner.active or spawner.pending:
                continue
            spawner._stop_pending = True
            try:
                await self.app.proxy.delete_user(user, server_name)
                await user.stop(server_name)
                self.log.warning("Stopped the server %s", spawner._log_name)
            except Exception:
                self.log.exception("Could not stop the server %s", spawner._log_name)
            finally:
                spawner._stop_pending = False
