"""The page for admins of the site: all members, their servers, and what an admin may do with them.

JupyterHub's own page has buttons for more than the role of an admin allows (`defaults.ADMIN_SCOPES`), and lists only
who has signed in. Everything else about people is the machine's matter: `manylab user`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from jupyterhub import orm
from jupyterhub.handlers.pages import AdminHandler
from jupyterhub.scopes import needs_scope
from tornado.web import authenticated

from manylab.hub.membership import Members, Standing

_PATIENCE: Final = 5.0  # seconds for a directory service to say who is in the group


@dataclass(frozen=True)
class Row:
    """One server of one member. server: "" is the default one. url: where to open it, "" where one may not."""

    name: str
    server: str = ""
    state: str = "never"  # or "stopped", "running", "pending"
    used: str = ""
    url: str = ""

    @property
    def first(self) -> bool:
        return not self.server


class MembersPage(AdminHandler):  # type: ignore[misc]
    """In the place of JupyterHub's page, for the same people."""

    @authenticated  # type: ignore[untyped-decorator]
    @needs_scope("admin-ui")  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        known = {name for (name,) in self.db.query(orm.User.name)}
        names = await members(self.authenticator.members, known)
        rows = [row for name in names for row in self._rows(name, known=name in known)]
        self.finish(await self.render_template("admin.html", rows=rows, people=len(names)))

    def _rows(self, name: str, *, known: bool) -> list[Row]:
        user = self.find_user(name) if known else None
        if user is None:
            return [Row(name)]
        found = []
        for spawner in user.all_spawners():
            state = "pending" if spawner.pending else "running" if spawner.ready else "stopped"
            opens = state == "running" and self.has_scope(f"access:servers!server={name}/{spawner.name}")
            url = user.server_url(spawner.name) if opens else ""
            found.append(Row(name, spawner.name, state, _time(spawner.orm_spawner.last_activity), url))
        return found or [Row(name, state="stopped")]


async def members(group: Members, known: set[str]) -> list[str]:
    """Who may sign in, by name: as far as the machine can list them, and those who have been here."""
    try:
        listed = await asyncio.wait_for(asyncio.to_thread(group.names), _PATIENCE)
    except (TimeoutError, asyncio.TimeoutError, OSError):
        listed = set()
    here = await group.standings(sorted(known - listed))
    return sorted(listed | {name for name, standing in here.items() if standing in (Standing.MEMBER, Standing.UNKNOWN)})


def _time(moment: datetime | None) -> str:
    """As people of this machine write it; the hub's database has UTC."""
    if moment is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment.replace(tzinfo=timezone.utc).timestamp()))
