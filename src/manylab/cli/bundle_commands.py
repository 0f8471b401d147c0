"""env bundle: a site in one file, for machines without internet."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply import bundle
from manylab.apply.lock import exclusive
from manylab.apply.site import look
from manylab.cli.app import JsonOption, command
from manylab.cli.context import make_context
from manylab.cli.env_commands import env_app, megabytes
from manylab.cli.result import Progress, Result
from manylab.cli.site_commands import LOCK_WAIT, WaitOption


@command(env_app, "bundle", example="sudo manylab env bundle /srv/manylab-bundle.tar")
def make(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; an old one is replaced.")],
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Write one file with everything that this site is made of: manylab, its environments, and those of
    manylab.toml. On a machine of the same kind without internet, `install --bundle FILE` makes the site from it.
    """
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("reading what only root may read")
    with Progress() as progress, exclusive(context.layout.apply_lock, wait=wait, say=progress.say):
        made = bundle.make(look(context.layout), file.absolute(), progress.say)
    lines = [
        f"{made.path}: {megabytes(made.size)}, for Python {', '.join(made.pythons)} and glibc {made.glibc} or later.",
        f"Its manifest has sha256 {made.digest}.",
        f"On the other machine: tar -xf {made.path.name} manylab && sudo ./manylab/manylab install --bundle "
        f"{made.path.name}",
        "Passwords and what holds for this machine alone ([https], [mirrors], [jupyterhub]) are not in it.",
    ]
    return Result({**dataclasses.asdict(made), "path": str(made.path)}, "\n".join(lines))
