"""env list, show, create, add, remove, build: the packages of kernels and terminals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from manylab.apply import packages
from manylab.apply.change import Outcome
from manylab.apply.lock import exclusive
from manylab.apply.packages import Newer
from manylab.apply.site import Site, config_text, look
from manylab.cli.app import JsonOption, command, group
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result
from manylab.cli.running_servers import told
from manylab.cli.site_commands import LOCK_WAIT, WaitOption, changing, outcome_result
from manylab.config.packages import name as package_name
from manylab.model.environments import SERVER
from manylab.model.locked import versions
from manylab.model.resources import Environment
from manylab.plan.packages import Moved, in_words
from manylab.system.environments import record

env_app = group("env", "Environments: the Python and the packages that people's kernels use.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The environment.")]
PackagesArgument = Annotated[
    list[str], typer.Argument(metavar="PACKAGE...", help="As pip would take them: polars, 'numpy>=2'.")
]
UpgradeOption = Annotated[bool, typer.Option("--upgrade", help="Take the newest of everything that may be.")]
UpgradePackageOption = Annotated[
    list[str] | None, typer.Option("--upgrade-package", help="Take the newest of this package; may be given again.")
]
SourceOption = Annotated[
    bool, typer.Option("--source", help="They may be built from source, in a sandbox, where there is no wheel.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")]


def site_of(as_json: bool) -> tuple[Context, Site]:
    """What every command about environments starts from."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root()
    return context, look(context.layout)


megabytes = packages.shown_size


def _environments(site: Site) -> dict[str, Environment]:
    return {item.name: item for item in site.resources if isinstance(item, Environment)}


_AS_IT_IS = Newer()
# As many differences are told before a build; afterwards, all.
_MANY = 20
_EMPTY: dict[str, object] = {
    "name": "", "number": None, "generation": "", "packages": 0, "python": "", "path": "", "built": False,
}  # fmt: skip


def _row(env: Environment) -> dict[str, object]:
    built = record.read(env.path)
    return {
        "name": env.name,
        "number": built.number if built is not None else None,
        "generation": env.digest,
        "packages": len(versions(env.lock, env.python_minor)),
        "python": env.python_minor,
        "path": str(env.path),
        "built": env.path.exists(),
    }


def site_rows(as_json: bool) -> Result:
    """All environments of the site, for `env list`."""
    _, site = site_of(as_json)
    rows = [_row(env) for env in _environments(site).values()]
    rows += [{**_EMPTY, "name": asked.name, "python": asked.python.minor} for asked in site.unsolved]
    lines = [f"{'NAME':<16} {'PYTHON':<7} {'PACKAGES':<9} {'GENERATION':<18} BUILT"]
    for row in rows:
        built = "yes" if row["built"] else "no"
        generation = f"{row['number']} ({row['generation']})" if row["number"] else str(row["generation"])
        lines.append(f"{row['name']:<16} {row['python']:<7} {row['packages']:<9} {generation:<18} {built}")
    return Result({"environments": rows}, "\n".join(lines))


@command(env_app, "show", example="sudo manylab env show default")
def show(name: NameArgument, as_json: JsonOption = False) -> Result:
    """Print the packages of one environment with their versions, and what one should know of them."""
    _, site = site_of(as_json)
    found = _environments(site).get(name)
    if found is None:
        raise packages.unknown_environment(name, _environments(site), "or it has not been built")
    locked = versions(found.lock, found.python_minor)
    built = record.read(found.path)
    notes = list(built.report) if built is not None else []
    lines = [f"{package}=={version}" for package, version in sorted(locked.items())]
    return Result(
        {
            "name": name,
            "generation": found.digest,
            "number": built.number if built is not None else None,
            "python": found.python_minor,
            "path": str(found.path),
            "bytes": built.size if built is not None else None,
            "tested": list(built.tested) if built is not None else [],
            "notes": notes,
            "packages": locked,
        },
        "\n".join([*lines, *(f"# {note}" for note in notes)]),
    )


def change_environment(
    as_json: bool,
    edited: Callable[[str], str],
    name: str,
    newer: Newer = _AS_IT_IS,
    *,
    summary: str,
    dry_run: bool,
    wait: float,
) -> Result:
    """Solve, show, build, try, switch, write down. edited: manylab.toml as it is -> as it is wanted."""
    context = make_context(as_json)
    layout = context.layout
    if layout.system:
        context.need_root()
    text = edited(config_text(layout))
    if dry_run:
        # Alone, too: solving uses the caches, and what fails tidies them up.
        with Progress() as progress, exclusive(layout.apply_lock, wait=wait, say=progress.say):
            site = packages.prepared(layout, text, name, newer, progress.say)
            moved = packages.moved(layout, site, name)
            download = packages.downloads(site, name, moved)
        return _shown(moved, packages.sizes(layout, name), {}, download, name, dry_run)
    shown: list[tuple[tuple[Moved, ...], dict[str, int], dict[str, int]]] = []

    def act(progress: Progress) -> Outcome:
        # Read again: somebody else may have changed it while this waited.
        site = packages.prepared(layout, edited(config_text(layout)), name, newer, progress.say)
        moved = packages.moved(layout, site, name)
        download = packages.downloads(site, name, moved)
        for one in moved[:_MANY]:
            progress.say(f"difference: {packages.in_words_with_size(one, download)}")
        if len(moved) > _MANY:
            progress.say(f"difference: and {len(moved) - _MANY} more")
        shown.append((moved, packages.sizes(layout, name), download))
        return packages.switch(layout, site, summary, progress.say)

    outcome = changing(context, wait, act)
    moved, before, download = shown[0]
    result = _shown(moved, before, packages.sizes(layout, name), download, name, dry_run)
    kept = told(outcome.site)
    text = "\n".join(part for part in (result.text, kept.text) if part)
    return Result({**outcome_result(outcome, 0.0).data, **result.data, **kept.data}, text)


def _shown(
    moved: tuple[Moved, ...],
    before: dict[str, int],
    after: dict[str, int],
    download: dict[str, int],
    name: str,
    dry_run: bool,
) -> Result:
    lines = []
    for one in moved:
        size = after.get(one.name) if one.after is not None else before.get(one.name)
        line = in_words(one) + (f"  {megabytes(size)}" if size else "")
        lines.append(packages.in_words_with_size(one, download) if dry_run and one.after is not None else line)
    counts = {kind: sum(one.kind == kind for one in moved) for kind in ("added", "removed", "up", "down")}
    total = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "the same packages"
    known = sum(after.get(one.name, 0) for one in moved) - sum(before.get(one.name, 0) for one in moved)
    if after and moved:
        total += f", {'+' if known >= 0 else '-'}{megabytes(abs(known))}"
    what = "servers" if name == SERVER else "kernels"
    if dry_run and download:
        total += f", {megabytes(sum(download.get(one.name, 0) for one in moved))} to download"
    end = f"{name} is ready; {what} that start from now on use it, those that run keep what they have."
    end = "Nothing was changed." if dry_run else end
    data = {"packages": [packages.as_data(one, before, after, download) for one in moved], "dry_run": dry_run}
    return Result(data, "\n".join([*lines, f"{total}.", end]))


def _newer(upgrade: bool, upgrade_package: list[str] | None) -> Newer:
    return Newer(upgrade, tuple(package_name(package) for package in upgrade_package or ()))


@command(env_app, "create", example="sudo manylab env create physics scientific qutip", changes=True)
def create(
    name: NameArgument,
    package: PackagesArgument,
    source: SourceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Create an environment with these packages: a second kernel in everybody's launcher."""
    return _with_more(name, package, Newer(), "create", source, dry_run, as_json, wait)


@command(env_app, "add", example="sudo manylab env add default polars", changes=True)
def add(
    name: NameArgument,
    package: PackagesArgument,
    upgrade: UpgradeOption = False,
    upgrade_package: UpgradePackageOption = None,
    source: SourceOption = False,
    new: Annotated[bool, typer.Option("--new", help="Create the environment, as 'manylab env create' does.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Add packages to an environment: solved, built beside the old one, tried, then switched."""
    newer = _newer(upgrade, upgrade_package)
    return _with_more(name, package, newer, "create" if new else "add", source, dry_run, as_json, wait)


def _with_more(
    name: str,
    package: list[str],
    newer: Newer,
    verb: str,
    source: bool,
    dry_run: bool,
    as_json: bool,
    wait: float,
) -> Result:
    def edited(text: str) -> str:
        text = packages.with_packages(text, name, add=package, new=verb == "create")
        return packages.with_sources(text, name, package) if source else text

    summary = f"env {verb} {name} {' '.join(package)}"
    return change_environment(as_json, edited, name, newer, summary=summary, dry_run=dry_run, wait=wait)


@command(env_app, "remove", example="sudo manylab env remove default polars", changes=True)
def remove(
    name: NameArgument,
    package: PackagesArgument,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Remove packages from an environment."""

    def edited(text: str) -> str:
        return packages.with_packages(text, name, remove=package)

    summary = f"env remove {name} {' '.join(package)}"
    return change_environment(as_json, edited, name, summary=summary, dry_run=dry_run, wait=wait)


@command(env_app, "build", example="sudo manylab env build default --upgrade", changes=True)
def build(
    name: NameArgument,
    upgrade: UpgradeOption = False,
    upgrade_package: UpgradePackageOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Make an environment as manylab.toml says, with newer packages if wanted: solved, built beside the old one,
    tried, then switched.
    """
    newer = _newer(upgrade, upgrade_package)
    return change_environment(as_json, str, name, newer, summary=f"env build {name}", dry_run=dry_run, wait=wait)
