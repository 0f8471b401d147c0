"""Who may use the site right now: members of its group, asked of the machine (NSS: /etc/group, LDAP, AD, ...)."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from enum import Enum

from manylab.base import names
from manylab.base.errors import BadName, NotFound
from manylab.system import accounts


class Standing(Enum):
    """What the machine says about one person."""

    MEMBER = "member"
    LEFT = "left"  # the account exists and is not in the group
    GONE = "gone"  # there is no such account
    UNKNOWN = "unknown"  # the machine could not say (the group cannot be looked up): nobody is thrown out for that


class Members:
    """Asks the machine. With `person` (the site of one ordinary user) only they are a member and no group is asked."""

    def __init__(self, group: str, person: str | None = None) -> None:
        self.group = group
        self.person = person

    def look(self, name: str) -> Standing:
        """Asks NSS, which may be a server far away: call it in a thread."""
        try:
            names.account(name)
        except BadName:
            return Standing.GONE
        if self.person is not None:
            return Standing.MEMBER if name == self.person else Standing.LEFT
        try:
            group = grp.getgrnam(self.group)
        except (KeyError, OSError):
            return Standing.UNKNOWN
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            # `userdel` takes the name out of the group too. A name that is still listed and has no account is more
            # likely an account whose directory server is away than one that was deleted.
            return Standing.UNKNOWN if name in group.gr_mem else Standing.GONE
        except OSError:
            return Standing.UNKNOWN
        if account.pw_uid == 0:
            return Standing.LEFT
        if account.pw_gid == group.gr_gid or name in group.gr_mem:
            return Standing.MEMBER
        # Some directories answer "which groups is she in" without listing the members of a group (sssd's
        # ignore_group_members), so the other direction is asked too.
        try:
            return Standing.MEMBER if group.gr_gid in os.getgrouplist(name, account.pw_gid) else Standing.LEFT
        except OSError:
            return Standing.UNKNOWN

    def names(self) -> set[str]:
        """All members that the machine lists; a directory service may list fewer than there are, or take its time."""
        if self.person is not None:
            return {self.person}
        try:
            listed = accounts.members(self.group)
        except NotFound:
            return set()
        return {name for name in listed if self.look(name) is Standing.MEMBER}

    async def standing(self, name: str) -> Standing:
        return await asyncio.to_thread(self.look, name)

    def look_all(self, people: list[str]) -> dict[str, Standing]:
        """Like look(), for many."""
        return {name: self.look(name) for name in people}

    async def standings(self, people: list[str]) -> dict[str, Standing]:
        return await asyncio.to_thread(self.look_all, people)
