"""Who may be served. Asks the machine (NSS: files, LDAP, sssd...), so every call can block: go through `ask`."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from manylab.base import names
from manylab.base.errors import BadName
from manylab.warden.messages import Reason, Refusal
from manylab.warden.settings import Settings

_NOBODY: Final = 65534  # the kernel's overflow uid: what files of unmapped owners seem to belong to
_SYSTEM_NAMES: Final = ("_", "systemd-")  # Debian Policy 9.2.1: packages name their accounts with a leading underscore
_NO_LOGIN: Final = {"nologin", "false"}
_PATIENCE: Final = 20.0  # seconds for a directory service
# Threads of their own: a directory that hangs must not keep servers from being stopped. None exists until it is needed.
_THREADS: Final = ThreadPoolExecutor(16, thread_name_prefix="accounts")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Person:
    """An account, with every group it is in."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


async def ask(question: Callable[..., _T], *about: object) -> _T:
    """What one of the functions below gives, without holding up the loop; raises Refusal `error` after 20 s."""
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(_THREADS, question, *about), _PATIENCE)
    except (asyncio.TimeoutError, TimeoutError):
        raise Refusal("error", "the directory of accounts does not answer") from None


def spelled(name: str) -> str:
    """The machine's own spelling of a name that somebody typed: some directories take `ALICE` for `alice`.

    Raises Refusal `unknown`.
    """
    try:
        return pwd.getpwnam(names.account(name)).pw_name
    except (BadName, KeyError):
        raise Refusal("unknown", "there is no such account") from None


def find(name: str, settings: Settings) -> Person:
    """The account of this name, if it is one of a person; raises Refusal `unknown` or `system-account`.

    Everything else (folders, registry, the hub's database) goes by the name, so it is exactly the machine's.
    """
    try:
        found = pwd.getpwnam(names.account(name))
    except (BadName, KeyError):
        raise Refusal("unknown", "there is no such account") from None
    if found.pw_name != name:
        raise Refusal("unknown", "there is no account of exactly this name")
    if found.pw_uid == 0:
        raise Refusal("system-account", "root is not served")
    if settings.person_uid is not None:
        if found.pw_uid != settings.person_uid:
            raise Refusal("not-member", "this site serves only the person who runs it")
    elif (
        found.pw_uid < settings.min_uid or found.pw_uid in (_NOBODY, settings.hub_uid) or name.startswith(_SYSTEM_NAMES)
    ):
        raise Refusal("system-account", "system accounts are not served")
    try:
        groups = os.getgrouplist(name, found.pw_gid)
    except OSError as error:
        raise Refusal("error", f"the groups of {name} could not be read: {error.strerror}") from None
    return Person(name, found.pw_uid, found.pw_gid, tuple(groups), found.pw_dir, found.pw_shell)


def admit(person: Person, settings: Settings) -> None:
    """Nothing, if this account may use the site; raises Refusal `not-member` or `locked`.

    For signing in, ask this only after the password was right: a stranger must not learn who is a member.
    """
    if settings.person_uid is not None:
        return
    if Path(person.shell).name in _NO_LOGIN:
        raise Refusal("locked", f"{person.name} has a shell that allows no login")
    try:
        group = grp.getgrnam(settings.group)
    except KeyError:
        raise Refusal("not-member", f"the group {settings.group} does not exist") from None
    if not _is_in(group, person):
        raise Refusal("not-member", f"{person.name} is not in the group {settings.group}")


def has_locked_password(name: str, shadow: Path = Path("/etc/shadow")) -> bool:
    """Whether /etc/shadow says that no password can be right (`passwd -l`, `usermod -L`: a field with `!` or `*`).

    False when that cannot be known: not root, or an account of a directory. (The spwd module left Python in 3.13.)
    """
    fields = _shadow(name, shadow)
    return len(fields) > 1 and fields[1].startswith(("!", "*"))


def why_not_now(name: str, shadow: Path = Path("/etc/shadow"), today: int | None = None) -> Reason:
    """Why an account whose password is right may not be used: "expired" or "password-expired", as /etc/shadow has it.

    today: days since 1970. "expired" also when it cannot be known.
    """
    now = int(time.time() // 86400) if today is None else today
    fields = [int(field) if field.isdigit() else None for field in _shadow(name, shadow)[2:8]]
    if len(fields) < 6:
        return "expired"
    changed, _, most, _, _, expires = fields  # shadow(5)
    if expires is not None and now >= expires:
        return "expired"
    if changed == 0 or (changed is not None and most is not None and now > changed + most):
        return "password-expired"
    return "expired"


def _shadow(name: str, shadow: Path) -> list[str]:
    """The fields of an account in /etc/shadow, [] when there are none to be read."""
    try:
        lines = shadow.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return next((line.split(":") for line in lines if line.startswith(name + ":")), [])


def group_id(name: str) -> int:
    """The number of a group; raises Refusal `start-failed` when there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refusal("start-failed", f"the group {name} does not exist; run `manylab apply`") from None


def among(person: Person, groups: Iterable[str]) -> list[str]:
    """Those of these groups that the person is in; a name that no group has is nobody's."""
    found = []
    for name in groups:
        try:
            group = grp.getgrnam(name)
        except KeyError:
            continue
        if _is_in(group, person):
            found.append(name)
    return found


def _is_in(group: grp.struct_group, person: Person) -> bool:
    """Asked in three ways, since some directories answer only some of them."""
    return group.gr_gid in (person.gid, *person.groups) or person.name in group.gr_mem
