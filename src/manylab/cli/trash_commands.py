"""trash list, restore, empty: what a person deleted in the Lab."""

from __future__ import annotations

import os
import pwd
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from manylab.base.errors import NotFound, Refused
from manylab.cli.app import JsonOption, app, command
from manylab.cli.result import Result
from manylab.lab.trash import Trash

trash_app = typer.Typer(no_args_is_help=True, help="What you deleted in the Lab, until it is removed for good.")
app.add_typer(trash_app, name="trash")

ItemArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name that `manylab trash list` shows.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _trash() -> Trash:
    return Trash(Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir))


@command(trash_app, "list", example="manylab trash list")
def list_(as_json: JsonOption = False) -> Result:
    """List what is in your trash, the oldest first."""
    trash = _trash()
    items = trash.items()
    lines = [f"{'DELETED':<17} {'NAME':<30} FROM"]
    for item in items:
        when = datetime.fromtimestamp(item.deleted).astimezone()
        lines.append(f"{when:%Y-%m-%d %H:%M}  {item.name:<30} {item.original or 'unknown'}")
    text = "\n".join(lines) if items else f"The trash ({trash.folder}) is empty."
    return Result({"folder": str(trash.folder), "items": [item.as_data() for item in items]}, text)


@command(trash_app, "restore", example="manylab trash restore results.csv")
def restore(name: ItemArgument, as_json: JsonOption = False) -> Result:
    """Put something back where it was deleted."""
    trash = _trash()
    try:
        place = trash.restore(name)
    except FileExistsError as error:
        raise Refused(
            f"{error.filename} is there again, and would be lost", hint="rename that one, then run this again"
        ) from error
    except FileNotFoundError as error:
        raise NotFound(
            f"{name} is not in the trash, or nothing says where it was", hint="manylab trash list"
        ) from error
    except OSError as error:
        raise Refused(f"{name} cannot be put back: {error.strerror}", hint=f"look into {trash.files}") from error
    return Result({"name": name, "path": str(place)}, f"{place} is back.")


@command(trash_app, "empty", example="manylab trash empty")
def empty(yes: YesOption = False, as_json: JsonOption = False) -> Result:
    """Remove for good what is in your trash."""
    trash = _trash()
    count = len(trash.items())
    if count and not yes and not typer.confirm(f"Remove {count} item{'s' * (count != 1)} for good?", err=True):
        return Result({"removed": 0}, "Nothing was removed.")
    removed = trash.empty()
    return Result({"removed": removed}, f"{removed} removed for good." if count else "The trash is empty.")
