"""Groups and accounts of the machine, through the programs that every distribution has (shadow's)."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from manylab.base import names
from manylab.base.errors import BadName, CommandFailed, NotFound, Refused
from manylab.base.layout import private_record
from manylab.model.resources import Account, Group
from manylab.system.run import run

NOLOGIN = "/usr/sbin/nologin"
# useradd's exit status for a name that it does not take: shadow before 4.15 (E_BAD_ARG), and since (E_BAD_NAME).
_BAD_NAME = (3, 19)

# "of a directory": the account is not in this machine's files, so only the directory knows.
Password: TypeAlias = Literal["set", "none", "locked", "of a directory"]


@dataclass(frozen=True)
class Person:
    """An account of the machine. uid and gid are numbers; home is where its passwd entry says."""

    name: str
    uid: int
    gid: int
    home: Path
    shell: str


def observe_group(want: Group) -> Group | None:
    """The group, or None."""
    try:
        found = grp.getgrnam(want.name)
    except KeyError:
        return None
    return Group(found.gr_name, want.system)


def group_exists(name: str) -> bool:
    """Whether there is such a group."""
    return observe_group(Group(name)) is not None


def observe_account(want: Account) -> Account | None:
    """The account with its groups, or None."""
    try:
        found = pwd.getpwnam(want.name)
    except KeyError:
        return None
    gids = os.getgrouplist(found.pw_name, found.pw_gid)
    groups = []
    for gid in gids:
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    primary = next((entry for entry in (_group_of(found.pw_gid),) if entry), str(found.pw_gid))
    return Account(found.pw_name, primary, tuple(groups), found.pw_dir)


def _group_of(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def make_group(want: Group) -> None:
    """Add the group."""
    run(["groupadd", *(["--system"] if want.system else []), names.group(want.name)])


def make_account(want: Account) -> None:
    """Add the system account, or put it into its groups."""
    if observe_account(want) is None:
        groups = ["--groups", ",".join(want.groups)] if want.groups else []
        home = ["--no-create-home", "--home-dir", want.home, "--shell", NOLOGIN, "--comment", "manylab"]
        run(["useradd", "--system", *home, "--gid", want.group, *groups, want.name])
        return
    run(
        [
            "usermod",
            "--gid",
            want.group,
            *(["--append", "--groups", ",".join(want.groups)] if want.groups else []),
            want.name,
        ]
    )


def find_person(name: str) -> Person | None:
    """The account of that name, or None. Raises BadName for a text that cannot be one."""
    try:
        found = pwd.getpwnam(names.account(name))
    except KeyError:
        return None
    return Person(found.pw_name, found.pw_uid, found.pw_gid, Path(found.pw_dir), found.pw_shell)


def name_of(uid: int) -> str:
    """The account's name; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def members(group: str) -> list[str]:
    """Names of all who are in the group, sorted: by its member list and by primary group.

    NotFound without the group.
    """
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        raise NotFound(f"there is no group {group!r}", hint="run 'manylab apply', which makes it") from None
    primary = {person.pw_name for person in pwd.getpwall() if person.pw_gid == entry.gr_gid}
    return sorted(primary | set(entry.gr_mem))


def is_member(name: str, group: str) -> bool:
    """Whether the account is in the group. False for an account or group that does not exist."""
    try:
        person, entry = pwd.getpwnam(name), grp.getgrnam(group)
    except KeyError:
        return False
    return entry.gr_gid in os.getgrouplist(name, person.pw_gid)


def refuse_system_account(person: Person, min_uid: int) -> None:
    """Raises Refused for root and for accounts that run services: they are never given a server."""
    if person.uid < min_uid or person.uid == 65534:
        raise Refused(
            f"{person.name} is a system account (uid {person.uid}, people begin at {min_uid})",
            hint="choose an account that belongs to a person",
        )


def add_person(name: str) -> None:
    """Make an account with a home and bash, without a password (nobody can sign in until it has one).

    Raises BadName when the machine makes no account of this name.
    """
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    try:
        run(["useradd", "--create-home", "--shell", shell, "--", names.account(name)])
    except CommandFailed as error:
        if error.data.get("status") not in _BAD_NAME:
            raise
        raise BadName(
            f"this machine makes no account {name!r}: {error.message}",
            hint="choose a name that useradd takes; an account that is there already (of a directory, or made with "
            "useradd --badname) is only put into the site's group",
        ) from error
    # Debian 12 makes homes that everybody can read; notebooks are nobody else's business.
    Path(pwd.getpwnam(name).pw_dir).chmod(0o700)


def set_password(name: str, password: str) -> None:
    """Set the account's password. It goes through standard input, never argv.

    Raises Refused for one that cannot be used.
    """
    if not password or any(character in password for character in "\n\r\0"):
        raise Refused("a password cannot be empty or contain line breaks", hint="choose another one")
    run(["chpasswd"], input=f"{names.account(name)}:{password}\n")


def password(name: str) -> Password:
    """What /etc/shadow says of the account's password (root only)."""
    for line in Path("/etc/shadow").read_text(encoding="utf-8", errors="replace").split("\n"):
        fields = line.split(":")
        if fields[0] == name:
            field = fields[1] if len(fields) > 1 else ""
            # `usermod --lock` and `passwd --lock` put a "!" before the hash.
            if field.startswith("!") and field.lstrip("!") not in ("", "*"):
                return "locked"
            return "set" if field not in ("", "x") and field[0] not in "!*" else "none"
    return "of a directory"


def join(name: str, group: str) -> None:
    """Put the account into the group."""
    run(["usermod", "--append", "--groups", names.group(group), "--", names.account(name)])


def leave(name: str, group: str) -> None:
    """Take the account out of the group. Raises Refused when it is the account's primary group."""
    person = pwd.getpwnam(names.account(name))
    if grp.getgrnam(group).gr_gid == person.pw_gid:
        raise Refused(
            f"{group} is the primary group of {name}",
            hint=f"give it another one first: usermod --gid OTHER {shlex.quote(name)}",
        )
    run(["gpasswd", "--delete", name, names.group(group)])


def delete_person(name: str, *, delete_home: bool) -> None:
    """Delete the account and, only when asked for in as many words, its home."""
    run(["userdel", *(["--remove"] if delete_home else []), "--", names.account(name)], timeout=600)


def remove_private(private: Path, person: Person) -> bool:
    """Remove what the person had in a /tmp of their own (see `Layout.private`); whether nothing is left of it.

    rm(1) follows no links and knows no folder that is too deep; all folders above are root's.
    """
    done = True
    for folder in private.glob(f"*/{person.uid}"):
        record = folder.with_name(private_record(person.uid))
        if record.is_symlink() and str(record.readlink()) != person.name:
            continue  # another account of the same number has it, or it is emptied before somebody gets it
        if run(["rm", "-rf", "--", str(folder)], timeout=600, check=False).status == 0:
            record.unlink(missing_ok=True)
        else:
            done = False
    return done
