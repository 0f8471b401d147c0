"""env import, export: environments from and to conda's environment.yml, and as a lock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manylab.apply import packages
from manylab.base import names
from manylab.base.errors import NotFound, Refused
from manylab.cli.app import JsonOption, command
from manylab.cli.env_commands import DryRunOption, NameArgument, change_environment, env_app, site_of
from manylab.cli.result import Result
from manylab.cli.site_commands import LOCK_WAIT, WaitOption
from manylab.model.conda_lock import is_conda, parse
from manylab.model.resources import CONDA
from manylab.system.conda import environment_yml
from manylab.system.files import write_file

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="An environment.yml.")]
NameOption = Annotated[str, typer.Option("--name", help="The environment; what the file calls it, unless given.")]
ExactOption = Annotated[bool, typer.Option("--exact", help="Every package with its version, not what was asked for.")]
LockOption = Annotated[bool, typer.Option("--lock", help="The lock itself, with hashes.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="A file to write instead of printing.")]


@command(env_app, "import", example="sudo manylab env import environment.yml --name course", changes=True)
def import_(
    file: FileArgument,
    name: NameOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Make an environment of conda packages from an environment.yml, its `pip:` part too: solved, built, tried, and
    then written into manylab.toml.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{file} cannot be read: {error}", hint="give an environment.yml of conda") from error
    found = environment_yml.read(text)
    name = name or found.name
    if not name:
        raise Refused("the file has no name for the environment", hint="give one: --name course")
    names.environment(name)
    asked = {
        "backend": CONDA,
        "packages": list(found.packages),
        "python": found.python or ">=3.10",
        "channels": list(found.channels),
        "pip": list(found.pip),
    }
    result = change_environment(
        as_json,
        lambda before: packages.edited(before, name, asked),
        name,
        summary=f"env import {file.name}",
        dry_run=dry_run,
        wait=wait,
    )
    notes = [f"note: {note}" for note in found.notes]
    return Result({**result.data, "name": name, "notes": list(found.notes)}, "\n".join([*notes, result.text]))


@command(env_app, "export", example="sudo manylab env export course > environment.yml")
def export(
    name: NameArgument,
    exact: ExactOption = False,
    lock: LockOption = False,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> Result:
    """Write an environment as an environment.yml, which conda, mamba and micromamba read; or its lock."""
    _, site = site_of(as_json)
    locked, wanted = site.locks.get(name), site.config.envs.get(name)
    if locked is None or wanted is None:
        raise packages.unknown_environment(name, site.config.envs, "or it was not solved yet")
    request = next(one for one in site.asked if one.name == name)
    if lock:
        text = locked
    elif is_conda(locked) and exact:
        text = environment_yml.write_exact(name, parse(locked))
    elif is_conda(locked):
        text = environment_yml.write(
            name,
            channels=wanted.channels,
            python=str(wanted.python),
            packages=request.requirements,
            pip=wanted.pip,
        )
    else:
        pinned = environment_yml.exact_pip(locked.splitlines())
        minor = f"=={request.python.minor}.*" if exact else str(wanted.python)
        asked = pinned if exact else request.requirements
        text = environment_yml.write(name, channels=(), python=minor, packages=asked, pip=())
    if output is not None:
        write_file(output.absolute(), text, 0o644)
        return Result({"name": name, "file": str(output)}, f"{output} has {name}.")
    return Result({"name": name, "text": text}, text.rstrip("\n"))
