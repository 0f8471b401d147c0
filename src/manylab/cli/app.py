"""The parser that all groups of commands register with, and how a command's Result or error becomes output and
exit status.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

import manylab
from manylab.base.errors import ManylabError
from manylab.base.layout import OWN, SITE
from manylab.cli import result
from manylab.cli.context import make_context


class _PlainFlags:
    """Help without `<bool>` behind options that take nothing."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in found:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return found


class Command(_PlainFlags, typer.core.TyperCommand):
    """A command of ours."""


class Group(_PlainFlags, typer.core.TyperGroup):
    """A group of commands: `manylab`, `manylab env`..."""


app = typer.Typer(
    name="manylab",
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="One Linux machine as a multi-user JupyterLab.\n\n"
    "[bold]sudo ./manylab up[/] builds what is missing and serves; [bold]sudo manylab user add alice[/] lets alice in.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]


def group(name: str, text: str) -> typer.Typer:
    """A new group of commands. text: its help."""
    made = typer.Typer(no_args_is_help=True, cls=Group, help=text)
    app.add_typer(made, name=name)
    return made


def command(
    parent: typer.Typer, name: str, *, example: str, changes: bool = False, **settings: Any
) -> Callable[[Callable[..., result.Result]], Callable[..., None]]:
    """Register a function that returns a Result as a command; its parameter `as_json` decides how that is printed.

    example: shown at the end of `--help`. changes: it changes a site, and therefore begins by saying which.
    """

    def register(function: Callable[..., result.Result]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            as_json = bool(arguments.get("as_json", False))
            try:
                if changes:
                    print(make_context(as_json).site, file=sys.stderr if as_json else sys.stdout, flush=True)
                outcome = function(**arguments)
            except ManylabError as error:
                result.show_error(error, as_json=as_json)
                raise typer.Exit(1) from None
            result.show(outcome, as_json=as_json)
            raise typer.Exit(outcome.status)

        run.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nExample: [bold]{example}[/]"
        vars(run)["changes"] = changes
        parent.command(name, cls=Command, **settings)(run)
        return run

    return register


def _version(wanted: bool) -> None:
    if wanted:
        print(f"manylab {manylab.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    own: Annotated[
        bool,
        typer.Option(
            "--own",
            help="About your own site (in ~/.config/manylab), where there is one of root's. Anywhere in the command "
            "line, or MANYLAB_SITE=own in the environment.",
        ),
    ] = False,
) -> None:
    if own:
        os.environ[SITE] = OWN
