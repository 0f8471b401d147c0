"""config show, get, set, unset, check, schema: manylab.toml from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manylab.apply.lock import exclusive
from manylab.cli import config_commands
from manylab.cli.app import JsonOption, command, group
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result
from manylab.model.resources import Directory
from manylab.system.files import make_directory, write_file

config_app = group("config", "Look at and change manylab.toml. Comments in it are kept.")

KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help='A setting such as http.port, or jupyterhub."JupyterHub.concurrent_spawn_limit".'
    ),
]


def _context(as_json: bool) -> Context:
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("reading and changing its settings, which may be passwords,")
    return context


def _write(path: Path, text: str) -> None:
    make_directory(Directory(path.parent))
    write_file(path, text, 0o600)


@command(config_app, "show", example="sudo manylab config show --json")
def show(as_json: JsonOption = False) -> Result:
    """Print every setting with its value; secrets are hidden."""
    return config_commands.show(_context(as_json).layout.config_file)


@command(config_app, "get", example="sudo manylab config get http.port")
def get(key: KeyArgument, as_json: JsonOption = False) -> Result:
    """Print one setting or table."""
    return config_commands.get(_context(as_json).layout.config_file, key)


@command(config_app, "set", example="sudo manylab config set http.port 8080", changes=True)
def set_(
    key: KeyArgument,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help='As it would be in the file, without quotes where that is clear: 8080, 2G, ["jane", "ali"].',
        ),
    ],
    as_json: JsonOption = False,
) -> Result:
    """Change one setting. Nothing is written when the result would not be valid; `apply` makes it so."""
    context = _context(as_json)
    with exclusive(context.layout.apply_lock, wait=600, say=Progress().say):
        return config_commands.set_(context.layout.config_file, key, value, _write)


@command(config_app, "unset", example="sudo manylab config unset http.port", changes=True)
def unset(key: KeyArgument, as_json: JsonOption = False) -> Result:
    """Let one setting have its default again."""
    context = _context(as_json)
    with exclusive(context.layout.apply_lock, wait=600, say=Progress().say):
        return config_commands.unset(context.layout.config_file, key, _write)


@command(config_app, "check", example="sudo manylab config check")
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Another file than the site's own.")] = None,
    as_json: JsonOption = False,
) -> Result:
    """Say everything that is wrong in manylab.toml, with line numbers."""
    return config_commands.check(file if file is not None else _context(as_json).layout.config_file)


@command(config_app, "schema", example="manylab config schema > manylab.schema.json")
def schema(as_json: JsonOption = False) -> Result:
    """Print the JSON Schema of manylab.toml, for editors."""
    return config_commands.schema()
