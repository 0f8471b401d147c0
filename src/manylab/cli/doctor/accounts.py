"""The site's group, its own accounts, and whether its members can sign in."""

from __future__ import annotations

import pwd
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manylab.cli.doctor.paths import some
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.model.resources import Account
from manylab.system.accounts import observe_account

_DAY = 86400


@dataclass(frozen=True)
class Shadow:
    """An entry of /etc/shadow (shadow(5)), days since 1970; -1 where nothing is set. Never print `password`."""

    name: str
    password: str = ""
    changed: int = -1
    maximum: int = -1
    inactive: int = -1
    expires: int = -1


def parse_shadow(text: str) -> dict[str, Shadow]:
    """The whole file. Pure."""
    found = {}
    for line in text.splitlines():
        fields = [*line.split(":"), "", "", "", "", "", "", "", ""]
        numbers = [int(field) if field.isdigit() else -1 for field in fields]
        found[fields[0]] = Shadow(fields[0], fields[1], numbers[2], numbers[4], numbers[6], numbers[7])
    return found


def sign_in(entry: Shadow, today: int) -> str:
    """What PAM will say: "", "expired", "password-expired", "locked", "empty" or "none" (no password was ever set).
    Pure.
    """
    if 0 <= entry.expires <= today:
        return "expired"
    if entry.password == "":
        return "empty"
    if entry.password.startswith("!") and len(entry.password.lstrip("!")) > 1:
        return "locked"
    if entry.password[0] in "!*" or entry.password in {"x", "NP"}:
        return "none"
    if entry.changed >= 0 and entry.maximum >= 0 and entry.maximum < 99999 and entry.changed + entry.maximum < today:
        return "password-expired"
    return ""


def _members(scene: Scene, *states: str) -> Iterator[tuple[str, str]]:
    """Members for whom signing in ends in one of these states."""
    scene.need_root()
    if str(scene.config.people.authenticator) != "pam":
        raise Skip("people do not sign in with passwords of this machine")
    entries = parse_shadow(Path("/etc/shadow").read_text(encoding="utf-8", errors="replace"))
    for name in (person.name for person in scene.people):
        state = sign_in(entries[name], int(time.time() // _DAY)) if name in entries else ""
        if state in states:
            yield name, state


@check(
    "group-missing",
    "The site's group exists",
    why="Only members of the group may sign in; without it nobody can.",
    mend="sudo manylab apply",
)
def group_missing(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    scene.need_site()
    if scene.silent:
        yield problem(scene.silent, f"see why nothing answers: getent group {shlex.quote(scene.group)}")
    elif not scene.has_group:
        yield problem(f"there is no group {scene.group!r}")


@check(
    "group-empty",
    "Somebody may sign in",
    why="A site without members serves nobody.",
    mend="sudo manylab user add NAME",
)
def group_empty(scene: Scene) -> Iterator[Finding]:
    if not scene.member_names:
        yield warning(f"nobody is in the group {scene.group!r}")


@check(
    "account-wrong",
    "The hub's and the proxy's own accounts are as they should be",
    why=(
        "What faces the web runs under accounts that can do nothing else; without them it does not start, and with "
        "root's number it would be root."
    ),
    mend="sudo manylab apply",
)
def account_wrong(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    scene.need_site()
    for want in (item for item in scene.site.resources if isinstance(item, Account)):
        have = observe_account(want)
        if have is None:
            yield problem(f"there is no account {want.name!r}")
            continue
        entry = pwd.getpwnam(want.name)
        if entry.pw_uid == 0:
            yield problem(f"the account {want.name!r} is root", f"sudo userdel --force {want.name}; sudo manylab apply")
        elif scene.group in have.groups:
            yield problem(
                f"the account {want.name!r} is in the group of people who may sign in",
                f"sudo gpasswd --delete {want.name} {shlex.quote(scene.group)}",
            )
        elif entry.pw_shell.rpartition("/")[2] not in ("nologin", "false"):
            yield warning(
                f"the account {want.name!r} has the shell {entry.pw_shell}",
                f"sudo usermod --shell /usr/sbin/nologin {want.name}",
            )


@check(
    "member-system",
    "Every member of the group is a person",
    why="Accounts that run services, and root, are never given a server; in the group they only mislead.",
    mend="sudo gpasswd --delete NAME GROUP",
)
def member_system(scene: Scene) -> Iterator[Finding]:
    names, people = scene.member_names, scene.people
    low = [person.name for person in scene.members if person not in people]
    gone = sorted(set(names) - {person.name for person in scene.members})
    for name in low:
        yield warning(
            f"{name} is a system account and never gets a server",
            f"sudo gpasswd --delete {shlex.quote(name)} {shlex.quote(scene.group)}",
        )
    for name in gone:
        yield warning(
            f"{name!r} is in the group, and this machine has no such account",
            f"sudo gpasswd --delete {shlex.quote(name)} {shlex.quote(scene.group)}",
        )


@check(
    "member-locked",
    "No member's account is locked or expired",
    why="These people are in the group and still cannot sign in; the page tells them so, and they will ask you.",
    mend="sudo usermod --unlock NAME; sudo chage --expiredate -1 NAME; sudo passwd NAME",
)
def member_locked(scene: Scene) -> Iterator[Finding]:
    mend = {
        "locked": "sudo usermod --unlock {}",
        "expired": "sudo chage --expiredate -1 {}",
        "password-expired": "sudo passwd {}",
    }
    words = {"locked": "is locked", "expired": "has expired", "password-expired": "has a password that has expired"}
    for name, state in _members(scene, *mend):
        yield warning(f"the account of {name} {words[state]}", mend[state].format(shlex.quote(name)))


@check(
    "member-password",
    "Every member has a password",
    why=(
        "People sign in with the password of their account; without one they cannot, and with an empty one anybody "
        "could be them."
    ),
    mend="sudo passwd NAME",
)
def member_password(scene: Scene) -> Iterator[Finding]:
    for name, state in _members(scene, "none", "empty"):
        if state == "empty":
            yield problem(f"{name} has an empty password", f"sudo passwd {shlex.quote(name)}")
        else:
            yield warning(f"{name} has no password", f"sudo passwd {shlex.quote(name)}")


@check(
    "admin-not-member",
    "Every admin may sign in",
    why="An admin who is not in the group cannot sign in, and nobody else may use the admin page.",
    mend="sudo manylab user add NAME",
)
def admin_not_member(scene: Scene) -> Iterator[Finding]:
    left = sorted(set(scene.config.people.admins) - set(scene.member_names))
    if left:
        yield warning(
            f"people.admins names {some(left)}, not in the group {scene.group!r}",
            f"sudo manylab user add {shlex.quote(left[0])}",
        )
