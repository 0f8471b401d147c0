"""The table that people see. Pure."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manylab.cli.bench.report import Report, machine_line
from manylab.cli.bench.samples import Metric, Summary

# The generator shares the machine with what it measures; above this it would be part of the result.
BUSY = 0.5


def number(value: float, unit: str) -> str:
    """With two digits that mean something."""
    if unit == "people":
        return f"{value:.0f}"
    if unit == "s":
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return f"{value:.1f} MiB" if value < 100 else f"{value:.0f} MiB"


def cell(found: Summary | None, metric: Metric) -> str:
    """Median and spread, or what went wrong."""
    if found is None:
        return "-"
    lines = []
    if found.n:
        lines.append(number(found.median, metric.unit))
        if found.n > 1:
            lines.append(f"{found.low:.3g} to {found.high:.3g}")
    if found.lost:
        lines.append(f"failed {found.lost} of {found.lost + found.n} times")
    return "\n".join([*lines, *found.failures])


def times(value: float | None) -> str:
    """A ratio: "18x"."""
    if value is None:
        return ""
    return f"{value:.0f}x" if value >= 10 else f"{value:.1f}x"


def render(report: Report, *, width: int = 118) -> str:
    """The whole table, with what has to be known to read it."""
    table = Table(box=box.SIMPLE_HEAD, title="", pad_edge=False, show_lines=False)
    table.add_column("", ratio=3)
    for side in report.sides:
        table.add_column(side.title, justify="right", ratio=2)
    for metric in report.measured:
        row = [Text(metric.title)]
        for side in report.sides:
            shown = cell(report.summary(side.name, metric), metric)
            better = times(report.ratio(side.name, metric))
            row.append(Text(f"{shown}\n({better})" if better else shown))
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join([*lines, "", *notes(report)]).strip("\n")


def notes(report: Report) -> list[str]:
    """What the table does not say itself."""
    repeats = report.settings["repeat"]
    first = report.sides[0].title
    lines = [f"{report.when}  {machine_line(report.machine)}"]
    what = "One measurement each" if repeats == 1 else f"Median of {repeats}, least to most below it"
    lines.append(f"{what}; in brackets, how many times better {first} is. Sides take turns in one run.")
    lines += less_often(report)
    lines += [f"{side.title}: {side.about}." for side in report.sides]
    lines += [f"{name}: not measured, {why}." for name, why in report.skipped.items()]
    if report.cold_starts:
        count = len(report.cold_starts)
        lines.append(f"{count} starts that should have been warm were cold, such as: {report.cold_starts[0][:200]}")
    share = report.generator_share
    lines.append(f"The load generator, on the same machine, used at most {share:.0%} of one processor.")
    if share > BUSY:
        lines.append("That is much: these numbers are too high.")
    if report.interrupted:
        lines.append("Interrupted: not everything was measured.")
    return lines


def less_often(report: Report) -> list[str]:
    """A sentence when something was not measured as often as all the rest."""
    times_others = report.settings.get("others_largest", 0)
    if not times_others:
        return []
    largest, repeats = max(report.settings["crowds"]), report.settings["repeat"]
    first = report.sides[0].title
    return [f"{largest} people at once: {repeats} times with {first}, {times_others} times with the others."]
