"""env list, show, add, remove: the packages of kernels and terminals."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from manylab.apply import change
from manylab.apply.change import Outcome
from manylab.apply.site import Site, look
from manylab.base.errors import NotFound
from manylab.cli.app import JsonOption, app, command
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result
from manylab.cli.site_commands import LOCK_WAIT, WaitOption, changing, outcome_result
from manylab.config import edit
from manylab.model.resources import Environment
from manylab.system.files import write_file

env_app = typer.Typer(no_args_is_help=True, help="Environments: the Python and the packages that people's kernels use.")
app.add_typer(env_app, name="env")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The environment.")]
PackagesArgument = Annotated[
    list[str], typer.Argument(metavar="PACKAGE...", help="As pip would take them: polars, 'numpy>=2'.")
]


def _site(as_json: bool) -> tuple[Context, Site]:
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("this")
    return context, look(context.layout)


def _environments(site: Site) -> dict[str, Environment]:
    return {item.name: item for item in site.resources if isinstance(item, Environment)}


def _packages(lock: str) -> dict[str, str]:
    """Name -> version of everything in a lock; of several for different Pythons, the first."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        found.setdefault(name.lower(), version)
    return found


_EMPTY: dict[str, object] = {"name": "", "generation": "", "packages": 0, "python": "", "path": "", "built": False}


def _row(env: Environment) -> dict[str, object]:
    return {
        "name": env.name,
        "generation": env.digest,
        "packages": len(_packages(env.lock)),
        "python": env.python_minor,
        "path": str(env.path),
        "built": env.path.exists(),
    }


@command(env_app, "list", example="sudo manylab env list")
def list_(as_json: JsonOption = False) -> Result:
    """List the environments, manylab's own included."""
    _, site = _site(as_json)
    found = _environments(site)
    rows = [_row(env) for env in found.values()]
    rows += [{**_EMPTY, "name": asked.name, "python": asked.python.minor} for asked in site.unsolved]
    lines = [f"{'NAME':<16} {'PYTHON':<7} {'PACKAGES':<9} {'GENERATION':<13} BUILT"]
    for row in rows:
        built = "yes" if row["built"] else "no"
        lines.append(f"{row['name']:<16} {row['python']:<7} {row['packages']:<9} {row['generation']:<13} {built}")
    return Result({"environments": rows}, "\n".join(lines))


@command(env_app, "show", example="sudo manylab env show default")
def show(name: NameArgument, as_json: JsonOption = False) -> Result:
    """Print the packages of one environment with their versions."""
    _, site = _site(as_json)
    found = _environments(site).get(name)
    if found is None:
        raise NotFound(
            f"there is no environment {name!r}, or it has not been built", hint="'manylab env list' shows them"
        )
    packages = _packages(found.lock)
    text = "\n".join(f"{package}=={version}" for package, version in sorted(packages.items()))
    return Result(
        {
            "name": name,
            "generation": found.digest,
            "python": found.python_minor,
            "path": str(found.path),
            "packages": packages,
        },
        text,
    )


def _edit(as_json: bool, name: str, packages: list[str], adding: bool, wait: float) -> Result:
    context, site = _site(as_json)
    if name not in site.config.envs and not adding:
        raise NotFound(f"there is no environment {name!r}", hint="'manylab env list' shows them")
    text = site.config_text
    if name not in site.config.envs:
        text = edit.add_environment(text, name)
        text = edit.set_value(text, f"envs.{name}.packages", "[]")
    for package in packages:
        text = (edit.add_to_list if adding else edit.remove_from_list)(text, f"envs.{name}.packages", package)
    before = _packages(site.locks.get(name, ""))

    def act(progress: Progress) -> Outcome:
        # Written down after it is known to work: an unsolvable or broken request leaves the file as it was.
        wanted = look(context.layout, text=text)
        outcome = change.apply_site(
            wanted, progress.say, summary=f"env {'add' if adding else 'remove'} {name} {' '.join(packages)}"
        )
        write_file(context.layout.config_file, text, 0o600)
        return outcome

    outcome = changing(context, wait, act)
    after = _packages(outcome.site.locks.get(name, ""))
    moved = _difference(before, after)
    result = outcome_result(outcome, 0.0)
    return Result(
        {**result.data, "packages": moved},
        "\n".join([*(_said(item) for item in moved), f"{name} is ready; kernels that start from now on use it."]),
    )


def _difference(before: dict[str, str], after: dict[str, str]) -> list[dict[str, str | None]]:
    return [
        {"name": name, "before": before.get(name), "after": after.get(name)}
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _said(moved: dict[str, str | None]) -> str:
    if moved["before"] is None:
        return f"+ {moved['name']} {moved['after']}"
    if moved["after"] is None:
        return f"- {moved['name']} {moved['before']}"
    return f"~ {moved['name']} {moved['before']} -> {moved['after']}"


@command(env_app, "add", example="sudo manylab env add default polars")
def add(
    name: NameArgument, packages: PackagesArgument, as_json: JsonOption = False, wait: WaitOption = LOCK_WAIT
) -> Result:
    """Add packages to an environment (a new one, if there is none of that name): solved, built beside the old one,
    then switched.
    """
    return _edit(as_json, name, packages, True, wait)


@command(env_app, "remove", example="sudo manylab env remove default polars")
def remove(
    name: NameArgument, packages: PackagesArgument, as_json: JsonOption = False, wait: WaitOption = LOCK_WAIT
) -> Result:
    """Remove packages from an environment."""
    return _edit(as_json, name, packages, False, wait)
