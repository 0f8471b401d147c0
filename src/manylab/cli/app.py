"""The parser that all groups of commands register with, and how a command's Result or error becomes output and
exit status.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

import manylab
from manylab.base.errors import ManylabError
from manylab.cli import result

app = typer.Typer(
    name="manylab",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="One Linux machine as a multi-user JupyterLab.\n\n"
    "[bold]sudo ./manylab up[/] builds what is missing and serves; [bold]sudo manylab user add alice[/] lets alice in.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]


def command(
    parent: typer.Typer, name: str, *, example: str, **settings: Any
) -> Callable[[Callable[..., result.Result]], Callable[..., None]]:
    """Register a function that returns a Result as a command; its parameter `as_json` decides how that is printed.

    example: shown at the end of `--help`.
    """

    def register(function: Callable[..., result.Result]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            as_json = bool(arguments.get("as_json", False))
            try:
                outcome = function(**arguments)
            except ManylabError as error:
                result.show_error(error, as_json=as_json)
                raise typer.Exit(1) from None
            result.show(outcome, as_json=as_json)
            raise typer.Exit(outcome.status)

        run.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nExample: [bold]{example}[/]"
        parent.command(name, **settings)(run)
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
) -> None:
    pass
