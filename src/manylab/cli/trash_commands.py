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
from manylab.cli.look.follow import printable
from manylab.cli.result import Result, plural
from manylab.lab.trash import Item, Trash

trash_app = typer.Typer(no_args_is_help=True, help="What you deleted in the Lab, until it is removed for good.")
app.add_typer(trash_app, name="trash")

ItemArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name that `manylab trash list` shows.")]
# Names that are shown before they are removed.
_SHOWN = 10
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
        place = item.original or "unknown: restore puts it in your home"
        lines.append(f"{when:%Y-%m-%d %H:%M}  {printable(item.name):<30} {printable(str(place))}")
    text = "\n".join(lines) if items else f"The trash ({trash.folder}) is empty."
    return Result({"folder": str(trash.folder), "items": [item.as_data() for item in items]}, text)


@command(trash_app, "restore", example="manylab trash restore results.csv")
def restore(name: ItemArgument, as_json: JsonOption = False) -> Result:
    """Put something back where it was deleted."""
    trash = _trash()
    # A name is also what the list shows of it.
    alike = [item.name for item in trash.items() if name in (item.name, printable(item.name))]
    chosen = alike[0] if len(alike) == 1 else name
    said = printable(name)
    try:
        place = trash.restore(chosen)
    except FileExistsError as error:
        raise Refused(
            f"{printable(str(error.filename))} is there again, and would be lost",
            hint="rename that one, then run this again",
        ) from error
    except FileNotFoundError as error:
        raise NotFound(f"{said} is not in the trash", hint="manylab trash list") from error
    except OSError as error:
        raise Refused(
            f"{said} cannot be put back: {error.strerror or 'not all of it can be copied'}",
            hint=f"look into {trash.files}",
        ) from error
    return Result({"name": chosen, "path": str(place)}, f"{printable(str(place))} is back.")


def _names(items: list[Item]) -> str:
    shown = ", ".join(printable(item.name) for item in items[:_SHOWN])
    return shown + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")


@command(trash_app, "empty", example="manylab trash empty")
def empty(yes: YesOption = False, as_json: JsonOption = False) -> Result:
    """Remove for good what is in your trash."""
    trash = _trash()
    items = trash.items()
    if not items:
        return Result({"removed": 0}, "The trash is empty.")
    what = f"{plural(len(items), 'item')} ({_names(items)})"
    others = sum(not item.ours for item in items)
    what += f", {others} of which the Lab did not put there or has no record of," if others else ""
    if not yes and not typer.confirm(f"Remove {what} for good?", err=True):
        return Result({"removed": 0}, "Nothing was removed.")
    removed = trash.empty()
    text = f"{removed} removed for good: {_names(items)}."
    if removed < len(items):
        text = f"{removed} of {len(items)} removed for good; what is left cannot be removed: {_names(trash.items())}."
    return Result({"removed": removed}, text)
