"""env list, copy, shell: what a person without power over the site does with environments."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply.packages import unknown_environment
from manylab.base import names
from manylab.base.errors import NotFound, Refused
from manylab.cli.app import JsonOption, command
from manylab.cli.context import make_context
from manylab.cli.env_commands import NameArgument, env_app, site_rows
from manylab.cli.result import Progress, Result
from manylab.model.jupyter import SYSTEM_PATH
from manylab.system.environments import copying, offered
from manylab.system.environments.offered import Offered

NewArgument = Annotated[str, typer.Argument(metavar="NEW", help="The name of the copy.")]
PathOption = Annotated[Path | None, typer.Option("--path", help="The new folder; ~/envs/NEW unless given.")]
CommandArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="A command to run instead of a shell.")
]

# Of an environment that is in use already, and would lead to another Python.
_ACTIVATED = frozenset({"PYTHONHOME", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"})


def _home() -> Path:
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


@command(env_app, "list", example="manylab env list")
def list_(as_json: JsonOption = False) -> Result:
    """List environments: for root all of the site's, manylab's own included, with the generation that each uses; for
    anybody else those that they can use, shared and their own.
    """
    context = make_context(as_json)
    if context.root or not context.layout.system:
        return site_rows(as_json)
    found = offered.everything(context.layout, _home())
    lines = [f"{'NAME':<16} {'KIND':<7} {'PYTHON':<7} {'PACKAGES':<9} IN THE LAB"]
    for one in found:
        title = one.title + (f": {one.description}" if one.description else "")
        number = "" if one.packages is None else str(one.packages)
        lines.append(f"{one.name:<16} {one.kind:<7} {one.python:<7} {number:<9} {title or one.path}")
    return Result({"environments": [one.as_data() for one in found]}, "\n".join(lines))


def _find(name: str, as_json: bool) -> Offered:
    known = [one for one in offered.everything(make_context(as_json).layout, _home()) if one.path]
    found = [one for one in known if one.name == name]
    if not found:
        raise unknown_environment(name, [one.name for one in known])
    return found[0]


@command(env_app, "copy", example="manylab env copy default mine")
def copy(name: NameArgument, new: NewArgument, path: PathOption = None, as_json: JsonOption = False) -> Result:
    """Copy an environment into your home, as one of your own: with a kernel in the Lab, and pip installs into it."""
    if os.getuid() == 0:
        raise Refused("a copy belongs to the person who makes it", hint="run this as that person, without sudo")
    names.environment(new)
    source = _find(name, as_json)
    if (Path(source.path) / "conda-meta").is_dir():
        raise Refused(
            f"{name} is made of conda packages, which know the folder that they are in",
            hint=f"an administrator can give you the list of its packages: sudo manylab env export {name}",
        )
    target = (path or _home() / offered.OWN_FOLDER / new).absolute()
    if target.name != new:
        target = target / new
    data = Path(os.environ.get("JUPYTER_DATA_DIR") or _home() / ".local/share/jupyter")
    with Progress() as progress:
        kernel = copying.copy(Path(source.path), target, data / "kernels", source.variables, progress.say)
    has_pip = (target / "bin/pip").exists()
    text = f"{target} is yours, and so is the kernel '{new} (Python, own)' in the Lab (reload the page)."
    text += f"\nInstall into it: {target}/bin/{'pip install' if has_pip else 'python -m ensurepip'}"
    text += f"\nRemove it: delete {target} and {kernel}"
    return Result({"name": new, "path": str(target), "kernel": str(kernel), "from": source.path}, text)


@command(env_app, "shell", example="manylab env shell course")
def shell(name: NameArgument, program: CommandArgument = None) -> Result:
    """Open a shell, or run a command, in which the programs of an environment come first."""
    found = _find(name, as_json=False)
    inherited = {key: value for key, value in os.environ.items() if key not in _ACTIVATED}
    variables = {**found.usual, **inherited, **found.variables}
    # cron's PATH has no /usr/local/bin.
    path = [f"{found.path}/bin", *variables.get("PATH", "").split(":"), *SYSTEM_PATH]
    variables["PATH"] = ":".join(dict.fromkeys(filter(None, path)))
    if (Path(found.path) / "conda-meta").is_dir():
        variables |= {"CONDA_PREFIX": found.path, "CONDA_DEFAULT_ENV": name}
    else:
        variables |= {"VIRTUAL_ENV": found.path, "VIRTUAL_ENV_PROMPT": name}
    argv = program or [variables.get("SHELL") or "/bin/sh"]
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, variables)  # noqa: S606
    except OSError as error:
        raise NotFound(f"{argv[0]} cannot be started: {error.strerror}", hint="check its name") from error
