"""The question before something is deleted that cannot be brought back; the same words for every command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from manylab.base.errors import Refused
from manylab.cli.context import typed


def confirm(deleted: Sequence[str], kept: Sequence[str], *, yes: bool) -> None:
    """Say what is deleted and what stays, and ask. yes: it was said on the command line, so nothing is asked.

    Raises Refused after any other answer than yes, and where there is no terminal to ask on.
    """
    if yes:
        return
    for title, lines in (("This is deleted, and cannot be brought back:", deleted), ("This stays:", kept)):
        if lines:
            print("\n  ".join([title, *lines]), file=sys.stderr, flush=True)
    if not sys.stdin.isatty():
        sudo = "sudo " if "SUDO_UID" in os.environ else ""
        raise Refused("nothing was deleted: there is no terminal to ask on", hint=f"{sudo}{typed('--yes')}")
    try:
        agreed = typer.confirm("Delete it?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise Refused("nothing was deleted")
