"""bench: how soon people are at work and what they cost, beside JupyterHub's usual spawners."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply.site import look
from manylab.cli.app import JsonOption, app, command
from manylab.cli.bench import runner, svg, table
from manylab.cli.bench.runner import Wanted
from manylab.cli.context import make_context
from manylab.cli.result import Progress, Result


class Side(enum.Enum):
    """What can be measured."""

    warm = "warm"
    cold = "cold"
    local = "local"
    systemd = "systemd"


class Case(enum.Enum):
    """What is measured: one person alone, many at the same moment, many who stay."""

    one = "one"
    crowd = "crowd"
    alive = "alive"


# How many come at the same moment, unless said otherwise.
USUAL = 10


@command(app, "bench", example="sudo manylab bench --people 60 --svg bench.svg")
def bench(
    people: Annotated[
        int, typer.Option("--people", min=1, max=999, help="How many sign in at the same moment; 10 are tried as well.")
    ] = USUAL,
    alive: Annotated[
        int,
        typer.Option(
            "--alive", min=0, max=999, help="Then let so many people stay, each with a Lab and a kernel; 0 for none."
        ),
    ] = 0,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=99, help="How often everything is measured.")] = 5,
    side: Annotated[
        list[Side] | None, typer.Option("--side", help="Only this side; may be given several times.")
    ] = None,
    only: Annotated[
        list[Case] | None, typer.Option("--only", help="Only this case; may be given several times.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute instead of many: two people, once; to see whether it works.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write every measurement as JSON.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the results.")] = None,
    as_json: JsonOption = False,
) -> Result:
    """Measure how soon people are at work and what they cost: warm, cold, and JupyterHub's usual spawners.

    It starts hubs of its own on loopback ports with throwaway accounts, beside the machine's site, and removes all of
    it afterwards. LocalProcessSpawner and systemdspawner need a hub that runs as root; theirs does, for the bench only.
    For numbers that mean something nothing else should be running.
    """
    context = make_context(as_json)
    context.need_root("a bench, which makes accounts of the machine,")
    if only and Case.alive in only and not alive:
        raise typer.BadParameter("--only alive needs --alive NUMBER")
    wanted = Wanted(
        sides=tuple(name for name in runner.SIDES if not side or Side(name) in side),
        cases=tuple(name for name in runner.CASES if (Case(name) in only if only else name != "alive" or alive)),
        crowds=(2,) if quick else tuple(sorted({min(USUAL, people), people})),
        alive=alive,
        repeat=1 if quick else repeat,
    )
    with Progress() as progress:
        found = runner.run(look(context.layout), wanted, progress.say)
    data = found.as_json()
    if save is not None:
        save.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        plot.write_text(svg.draw(found), encoding="utf-8")
    return Result(data, table.render(found), 130 if found.interrupted else 0)
