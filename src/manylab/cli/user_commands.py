"""user add, remove, list, admin: who may sign in."""

from __future__ import annotations

import contextlib
import getpass
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply import change, people, roster
from manylab.apply.people import Person
from manylab.apply.site import look
from manylab.base.errors import Refused
from manylab.cli.app import JsonOption, command, group
from manylab.cli.confirm import confirm
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result, plural
from manylab.cli.site_commands import changing
from manylab.system.files import write_file

user_app = group("user", "Who may sign in: accounts of this machine in the site's group.")

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


@command(user_app, "add", example="sudo manylab user add --from names.txt --generate", changes=True)
def add(
    name: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="The people's accounts.")] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Read further names from a file, one on each line.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password of one person from standard input.")
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", help="Make a password for each account that has none.", show_default=False)
    ] = False,
    reset_password: Annotated[
        bool, typer.Option("--reset-password", help="With --generate: also for accounts that have a password.")
    ] = False,
    passwords: Annotated[
        Path | None,
        typer.Option("--passwords", metavar="FILE", help="The new file (CSV, 0600) that passwords are written to."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Also make these people admins of the hub.")] = False,
    as_json: JsonOption = False,
) -> Result:
    """Let people sign in: make the accounts that are missing, and put them into the site's group.

    Run it as often as you like: an account that has a password keeps it. The password that --generate makes for one
    NAME is printed; those of several people are written to a file that only root can read.
    """
    context = _context(as_json)
    if password_stdin and (generate or from_file or len(name or ()) != 1):
        raise Refused("--password-stdin is for one NAME, without --generate", hint="for several, use --generate")
    if reset_password and not generate:
        raise Refused("--reset-password needs --generate", hint="add it; for one person 'passwd NAME' does the same")
    persons = list(dict.fromkeys(people.check_name(one) for one in name or ()))
    if from_file is not None:
        persons = list(dict.fromkeys([*persons, *roster.read_names(from_file, people.check_name)]))
    if not persons:
        raise Refused("no name was given", hint="name the accounts, or a file of names with --from")
    site = look(context.layout)
    people.refuse_system_accounts(site, persons)
    given: str | None = None
    if password_stdin:
        given = sys.stdin.readline().rstrip("\n")
        people.check_password(given)
    elif not generate and len(persons) == 1 and not people.has_password(persons[0]):
        given = _ask(persons[0])
    elif not generate and (without := [one for one in persons if not people.has_password(one)]):
        raise Refused(
            f"{plural(len(without), 'account')} without a password: {', '.join(without[:5])}"
            + (", ..." if len(without) > 5 else ""),
            hint="add --generate",
        )
    alone = len(persons) == 1 and from_file is None and passwords is None
    rows = []
    with contextlib.ExitStack() as stack:
        file, progress = None, stack.enter_context(Progress())
        if generate and not alone:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            file = stack.enter_context(roster.PasswordFile(passwords or Path(f"manylab-passwords-{stamp}.csv")))
        for person in persons:
            password = given
            if generate and (reset_password or not people.has_password(person)):
                password = roster.generate_password()
                if file is not None:
                    # Said before the first, so that it is known whatever happens to a later one.
                    progress.say(f"create {file.path.absolute()}, which has the passwords")
                    file.write(person, password)
            made = people.add(site, person, password)
            row = {"user": person, "created": made.created, "joined": made.joined, "admin": admin}
            rows.append({**row, "password_set": password is not None})
            if generate and alone and password is not None:
                rows[-1]["password"] = password
        written = str(file.path.absolute()) if file is not None and file.written else None
    if admin:
        _set_admins(context, persons, True)
    lines = [_added(row) for row in rows]
    if generate and not reset_password and (had := [str(row["user"]) for row in rows if not row["password_set"]]):
        lines.append(f"Kept the password that they had: {', '.join(had)}. --reset-password makes new ones.")
    if locked := [str(row["user"]) for row in rows if not row["password_set"] and people.is_locked(str(row["user"]))]:
        lines.append(f"Locked, and left so: {', '.join(locked)}. 'sudo passwd --unlock NAME' lets them in again.")
    if written is not None:
        lines.append(f"Passwords, of which there is no other copy: {written}")
    return Result(rows[0] if alone else {"users": rows, "passwords": written}, "\n".join(lines))


def _added(row: dict[str, object]) -> str:
    state = " (the account is new)." if row["created"] else "." if row["joined"] else "; that was so before."
    shown = f"\nPassword, shown only this once: {row['password']}" if "password" in row else ""
    return f"{row['user']} can sign in now{state}{shown}"


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
        _set_admins(context, [person], False)
    text = f"{person} can no longer sign in; {plural(gone.stopped, 'server')} stopped."
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
    changed = _set_admins(context, [person], not off)
    state = "an admin" if not off else "no longer an admin"
    return Result(
        {"user": person, "admin": not off, "changed": changed},
        f"{person} is {state}{' now' if changed else ' already' if not off else ''}.",
    )


def _set_admins(context: Context, names: Sequence[str], wanted: bool) -> bool:
    text, changed = people.edit_admins(look(context.layout), names, wanted)
    if changed:

        def act(progress: Progress) -> change.Outcome:
            site = look(context.layout, text=text)
            write_file(context.layout.config_file, text, 0o600)
            summary = f"admin {', '.join(names)} {'on' if wanted else 'off'}"
            return change.apply_site(site, progress.say, summary=summary)

        changing(context, 600, act)
    return changed
