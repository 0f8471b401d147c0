"""user add, remove, list, admin: who may sign in."""

from __future__ import annotations

import getpass
import secrets
import sys
from typing import Annotated

import typer

from manylab.apply import change, people
from manylab.apply.people import Person
from manylab.apply.site import look
from manylab.base.errors import Refused
from manylab.cli.app import JsonOption, command, group
from manylab.cli.confirm import confirm
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result
from manylab.cli.site_commands import changing
from manylab.system.files import write_file

user_app = group("user", "Who may sign in: accounts of this machine in the site's group.")

# 16 characters of 55 that are not mistaken for each other: 92 bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The person's account.")]


def _context(as_json: bool) -> Context:
    context = make_context(as_json)
    if not context.layout.system:
        raise Refused(
            "a site without root serves only the person who started it",
            hint="run this with sudo on a site that root serves",
        )
    context.need_root()
    return context


@command(user_app, "add", example="sudo manylab user add alice", changes=True)
def add(
    name: NameArgument,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it once.")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Also make this person an admin of the hub.")] = False,
    as_json: JsonOption = False,
) -> Result:
    """Let somebody sign in: make the account if there is none, and put it into the site's group."""
    context = _context(as_json)
    if password_stdin and generate:
        raise Refused("--password-stdin and --generate exclude each other", hint="choose one")
    person = people.check_name(name)
    site = look(context.layout)
    password: str | None = None
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
        people.check_password(password)
    elif generate:
        password = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    elif not people.has_password(person):
        password = _ask(person)
    made = people.add(site, person, password)
    if admin:
        _set_admin(context, person, True)
    data = {
        "user": person,
        "created": made.created,
        "joined": made.joined,
        "password_set": password is not None,
        "admin": admin,
    }
    text = f"{person} can sign in now" + (
        " (the account is new)." if made.created else "." if made.joined else "; that was so before."
    )
    if generate:
        assert password is not None
        data["password"] = password
        text += f"\nPassword, shown only this once: {password}"
    return Result(data, text)


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise Refused(
            f"{name} has no password yet", hint="use --password-stdin or --generate where there is no terminal"
        )
    first = getpass.getpass(f"Password for {name}: ")
    people.check_password(first)
    if getpass.getpass("The same again: ") != first:
        raise Refused("the two passwords differ", hint="run it again")
    return first


@command(user_app, "remove", example="sudo manylab user remove alice", changes=True)
def remove(
    name: NameArgument,
    delete_account: Annotated[
        bool, typer.Option("--delete-account", help="Also delete the account of this machine; its home stays.")
    ] = False,
    delete_home: Annotated[
        bool,
        typer.Option(
            "--delete-home", help="Also delete the account AND its home with all files. There is no way back."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted.")] = False,
    as_json: JsonOption = False,
) -> Result:
    """Let somebody no longer sign in: their servers stop and their tokens end, at once. Account and home stay."""
    context = _context(as_json)
    person = people.check_name(name)
    site = look(context.layout)
    if delete_home or delete_account:
        home = f"{people.home_of(person)} with all files of {person}"
        deleted = [f"account {person}", f"what {person} has in a /tmp of their own", *([home] if delete_home else [])]
        confirm(deleted, [] if delete_home else [home], yes=yes)
    with Progress() as progress:
        gone = people.remove(
            site, person, delete_account=delete_account or delete_home, delete_home=delete_home, say=progress.say
        )
    if person in site.config.people.admins:
        _set_admin(context, person, False)
    text = f"{person} can no longer sign in; {gone.stopped} servers stopped."
    text += (
        " Account and home are deleted."
        if delete_home
        else " The account is deleted, the home stays."
        if delete_account
        else " Account and home stay."
    )
    return Result(
        {
            "user": person,
            "servers_stopped": gone.stopped,
            "account_deleted": delete_account or delete_home,
            "home_deleted": delete_home,
        },
        text,
    )


@command(user_app, "list", example="manylab user list --json")
def list_(as_json: JsonOption = False) -> Result:
    """List who may sign in, who is an admin, and who has a server running."""
    context = _context(as_json)
    found = people.everybody(look(context.layout))
    rows = [_row(person) for person in found]
    lines = [f"{'NAME':<20} {'ADMIN':<6} {'SERVERS':<8} PASSWORD"]
    lines += [f"{p.name:<20} {'yes' if p.admin else '':<6} {len(p.servers) or '':<8} {p.password}" for p in found]
    return Result({"users": rows}, "\n".join(lines) if found else "Nobody may sign in yet: manylab user add NAME")


def _row(person: Person) -> dict[str, object]:
    return {"name": person.name, "admin": person.admin, "servers": list(person.servers), "password": person.password}


@command(user_app, "admin", example="sudo manylab user admin alice", changes=True)
def admin(
    name: NameArgument,
    off: Annotated[bool, typer.Option("--off", help="No longer an admin.")] = False,
    as_json: JsonOption = False,
) -> Result:
    """Make somebody an admin of the hub (or, with --off, no longer): edits people.admins and applies."""
    context = _context(as_json)
    person = people.check_name(name)
    changed = _set_admin(context, person, not off)
    state = "an admin" if not off else "no longer an admin"
    return Result(
        {"user": person, "admin": not off, "changed": changed},
        f"{person} is {state}{' now' if changed else ' already' if not off else ''}.",
    )


def _set_admin(context: Context, name: str, wanted: bool) -> bool:
    text, changed = people.edit_admins(look(context.layout), name, wanted)
    if changed:

        def act(progress: Progress) -> change.Outcome:
            site = look(context.layout, text=text)
            write_file(context.layout.config_file, text, 0o600)
            return change.apply_site(site, progress.say, summary=f"admin {name} {'on' if wanted else 'off'}")

        changing(context, 600, act)
    return changed
