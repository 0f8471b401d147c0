"""Who may sign in: accounts in the site's group.

Joining and leaving take effect at once; homes are never touched unless asked.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from manylab.apply import generations
from manylab.apply.site import Site
from manylab.base.errors import NoAnswer, NotFound, NotInstalled, Refused
from manylab.config import edit
from manylab.model.resources import Group
from manylab.system import accounts, asking, servers
from manylab.system.environments import Say

# How long the hub may take for one look at its people (it looks every hub.members_check), and to stop servers, seconds.
ROUND = 0.5
DIRECTORY = 20.0  # seconds for who is in the group
NOTICED_WITHIN = 20.0


@dataclass(frozen=True)
class Added:
    """What `add` had to do."""

    created: bool
    joined: bool


@dataclass(frozen=True)
class Removed:
    """What `remove` did. stopped: number of servers that were running."""

    stopped: int


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in. servers: names of those running ("" the default one)."""

    name: str
    admin: bool
    servers: tuple[str, ...]
    password: accounts.Password


def check_name(name: str) -> str:
    """The name, as the machine spells it if there is such an account. Raises BadName or Refused (root)."""
    found = accounts.find_person(name)
    if name == "root" or (found is not None and found.uid == 0):
        raise Refused("root never signs in", hint="use the account of a person")
    return name if found is None else found.name


def check_password(password: str) -> None:
    """Raises Refused for a password that no account can have."""
    if not password or len(password) > 1024 or any(character in password for character in "\r\n\0"):
        raise Refused("a password has 1 to 1024 characters, without line breaks", hint="choose another one")


def has_password(name: str) -> bool:
    """Whether the account exists and has a password, as far as this machine can say; one that is locked counts."""
    return accounts.find_person(name) is not None and accounts.password(name) != "none"


def is_locked(name: str) -> bool:
    """Whether an administrator locked the account's password."""
    return accounts.find_person(name) is not None and accounts.password(name) == "locked"


def home_of(name: str) -> str:
    """Where the account's home is."""
    return str(_existing(name).home)


def _existing(name: str) -> accounts.Person:
    found = accounts.find_person(name)
    if found is None:
        raise NotFound(
            f"there is no account {name!r} on this machine", hint="'manylab user list' shows who may sign in"
        )
    return found


def refuse_system_accounts(site: Site, people: Sequence[str]) -> None:
    """Raises Refused when one of these is an account that runs services: before anybody is added."""
    for name in people:
        found = accounts.find_person(name)
        if found is not None:
            accounts.refuse_system_account(found, site.facts.min_uid)


def add(site: Site, name: str, password: str | None) -> Added:
    """Make the account if there is none, set its password if one is given, and put it into the group."""
    group = str(site.config.people.group)
    if accounts.observe_group(Group(group, system=False)) is None:
        if generations.current(site.layout) is None:
            raise NotInstalled("there is no site on this machine yet", hint="run 'manylab up' or 'manylab apply' first")
        raise NotFound(f"the site's group {group!r} does not exist", hint="run 'manylab apply', which makes it")
    found = accounts.find_person(name)
    if found is not None:
        accounts.refuse_system_account(found, site.facts.min_uid)
    else:
        accounts.add_person(name)
    if password is not None:
        accounts.set_password(name, password)
    joined = not accounts.is_member(name, group)
    if joined:
        accounts.join(name, group)
    return Added(created=found is None, joined=joined)


def remove(site: Site, name: str, *, delete_account: bool, delete_home: bool, say: Say) -> Removed:
    """Take the account out of the group and wait until its servers are gone; then, if asked for, delete it, and what
    it had in a /tmp of its own.
    """
    person = _existing(name)
    accounts.refuse_system_account(person, site.facts.min_uid)
    if delete_home:
        _need_home_to_answer(person)
    group = str(site.config.people.group)
    running = servers_of(site, name)
    if accounts.is_member(name, group):
        say(f"remove {name} from the group {group}")
        accounts.leave(name, group)
    elif not (delete_account or running):
        raise NotFound(f"{name} is not in the group {group!r}", hint="'manylab user list' shows who may sign in")
    # The hub notices by itself and also ends sessions and tokens; when this returns, that has happened. What it does
    # not stop (it may be down), the warden stops.
    if servers.answers(site.layout.hub_socket):
        say("waiting until the hub has ended sessions, tokens and servers")
        began = time.monotonic()
        time.sleep(site.config.hub.members_check + ROUND)
        while servers_of(site, name) and time.monotonic() < began + NOTICED_WITHIN + site.config.hub.members_check:
            time.sleep(0.2)
    for server in servers_of(site, name):
        servers.stop(site.layout.warden_socket, name, server)
    if delete_account:
        say(f"remove the account {name}")
        accounts.delete_person(name, delete_home=delete_home)
        # Whoever is given the number next is not to find it.
        if not accounts.remove_private(site.layout.private, person):
            say(f"not all that {name} had in their own /tmp could be removed; it is at the next start of the machine")
    return Removed(len(running))


def _need_home_to_answer(person: accounts.Person) -> None:
    """Raises NoAnswer for a home that userdel would hang at, or may not enter as root, before anything is changed."""

    def look() -> bool:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(person.home):
            pass
        return True

    try:
        asking.ask(look)
    except NoAnswer as silent:
        raise NoAnswer(
            f"the home folder {person.home} {silent.message}; nothing was changed",
            hint="delete it where its file system is at hand; --delete-account instead of --delete-home leaves it",
        ) from None


def servers_of(site: Site, name: str) -> list[str]:
    """The names of somebody's running servers; none while the site does not run."""
    return [server["server"] for server in servers.running(site.layout.warden_socket) if server["user"] == name]


def everybody(site: Site) -> list[Person]:
    """All who are in the group, sorted by name. Raises NoAnswer when the directory of accounts is silent."""
    group = str(site.config.people.group)
    try:
        members = asking.ask(lambda: accounts.members(group) if accounts.group_exists(group) else None, DIRECTORY)
    except NoAnswer as silent:
        raise NoAnswer(
            f"the directory of accounts {silent.message}", hint=f"try: getent group {shlex.quote(group)}"
        ) from None
    if members is None:
        raise NotFound(f"there is no group {group!r}", hint="run 'manylab apply', which makes it")
    running: dict[str, list[str]] = {}
    for server in servers.running(site.layout.warden_socket):
        running.setdefault(server["user"], []).append(server["server"])
    admins = set(site.config.people.admins)
    return [Person(name, name in admins, tuple(running.get(name, ())), accounts.password(name)) for name in members]


def edit_admins(site: Site, names: Sequence[str], wanted: bool) -> tuple[str, bool]:
    """manylab.toml with these admins added or removed, and whether that changed anything.

    Raises NotFound for a non-member.
    """
    text = site.config_text
    for name in names:
        if (name in site.config.people.admins) == wanted:
            continue
        if wanted and not accounts.is_member(name, str(site.config.people.group)):
            raise NotFound(
                f"{name} may not sign in, so cannot be an admin", hint=f"first: manylab user add {shlex.quote(name)}"
            )
        change = edit.add_to_list if wanted else edit.remove_from_list
        text = change(text, "people.admins", name)
    return text, text != site.config_text
