"""A finished bench as a picture: a group of bars for each question, readable on light and on dark pages. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from manylab.cli.bench.report import Report, SideInfo, machine_line
from manylab.cli.bench.samples import Metric, Sample, Summary
from manylab.cli.bench.table import less_often, number, times

# Pixels.
WIDTH = 860
MARGIN = 24
LABEL = 170
BAR = 400
ROW = 24
THICK = 14
GAP = 18
TITLE = 24
LINE = 17

# What is left out of the picture is in the table.
LEFT_OUT = ("signed-in", "server", "server-pss", "server-page-tables", "kernel-pss", "kernel-page-tables")
LEFT_OUT_ALIVE = ("alive-memory", "alive-answer")

_STYLE = """\
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .faint { fill: #59636e } .line { stroke: #1f2328; stroke-width: 1.2 }
  .dot { fill: #1f2328; fill-opacity: .55 } .lost { fill: none; stroke: #59636e; stroke-dasharray: 4 3 }
  .warm { fill: #e8710a } .cold { fill: #3b78c4 } .local { fill: #7d8590 } .systemd { fill: #a9b1ba }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif }
  .head { font-weight: 600; font-size: 17px } .title { font-weight: 600 } .small { font-size: 11.5px }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .faint { fill: #9198a1 } .line { stroke: #e6edf3 }
    .dot { fill: #e6edf3 } .lost { stroke: #9198a1 } .local { fill: #6e7681 } .systemd { fill: #4d545c }
  }"""


def draw(report: Report) -> str:
    """The whole picture as a file of its own."""
    body: list[str] = []
    height = MARGIN + 14
    body.append(_text(MARGIN, height, "From sign-in to work, and what it costs: side by side in one run", "head ink"))
    height += LINE + 6
    for line in footnotes(report):
        body.append(_text(MARGIN, height, line, "small faint"))
        height += LINE
    height += GAP
    for metric in report.measured:
        if metric.name in LEFT_OUT + LEFT_OUT_ALIVE:
            continue
        rows = [(side, found) for side in report.sides if (found := report.summary(side.name, metric)) is not None]
        body.append(_text(MARGIN, height, _title(metric), "title ink"))
        height += TITLE - 14
        most = max((found.high for _, found in rows if found.n), default=0.0)
        for side, found in rows:
            body += _row(report, side, metric, found, most, height)
            height += ROW
        height += GAP + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'role="img">',
            f"<title>{escape('manylab bench, ' + report.when)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            *body,
            "</svg>\n",
        ]
    )


def footnotes(report: Report) -> list[str]:
    """What has to be known to believe it: machine, day, how often, and how to read the bars."""
    repeats = report.settings["repeat"]
    read = "Bars: median; line: least to most; dots: each of" if repeats > 1 else "Each bar is one measurement"
    many = f" {repeats} measurements" if repeats > 1 else ""
    lines = [
        f"{report.when[:10]}, {machine_line(report.machine)}",
        f"{read}{many}. Each group has its own scale, from 0.",
        f"In brackets: how many times better {report.sides[0].title} is.",
    ]
    lines += less_often(report)
    return lines + (["Interrupted: not everything was measured."] if report.interrupted else [])


def _title(metric: Metric) -> str:
    unit = {"s": "seconds", "MiB": "MiB", "people": "people; more is better"}[metric.unit]
    return f"{metric.title[0].upper()}{metric.title[1:]} ({unit})"


def _row(report: Report, side: SideInfo, metric: Metric, found: Summary, most: float, top: float) -> Iterator[str]:
    middle = top + ROW / 2
    yield _text(MARGIN + LABEL - 10, middle + 4, side.title, "ink", anchor="end")
    left = MARGIN + LABEL
    if not found.n:
        yield f'<rect class="lost" x="{left}" y="{middle - THICK / 2:g}" width="{BAR}" height="{THICK}" rx="2"/>'
        yield _text(left + 8, middle + 4, _why(found), "small faint")
        return
    scale = BAR / most if most else 0.0
    wide = max(found.median * scale, 1.5)
    yield (
        f'<rect class="{escape(side.name)}" x="{left}" y="{middle - THICK / 2:g}" width="{wide:.1f}" '
        f'height="{THICK}" rx="2"/>'
    )
    if found.n > 1:
        low, high = left + found.low * scale, left + found.high * scale
        yield f'<path class="line" d="M{low:.1f} {middle:g}H{high:.1f}"/>'
        for sample in report.samples:
            if _is_dot(sample, side, metric):
                assert sample.value is not None
                yield f'<circle class="dot" cx="{left + sample.value * scale:.1f}" cy="{middle:g}" r="2.2"/>'
    said = number(found.median, metric.unit)
    if better := times(report.ratio(side.name, metric)):
        said += f"  ({better})"
    if found.lost or found.failures:
        said += f"  {_why(found)}"
    yield _text(left + max(wide, found.high * scale) + 8, middle + 4, said, "ink")


def _is_dot(sample: Sample, side: SideInfo, metric: Metric) -> bool:
    return sample.side == side.name and sample.metric == metric.name and sample.value is not None


def _why(found: Summary) -> str:
    failed = f"failed {found.lost} of {found.lost + found.n} times" if found.lost else ""
    why = found.failures[0] if found.failures else ""
    return (f"{failed}: {why}" if failed and why else failed or why)[:72]


def _text(left: float, top: float, text: str, kind: str, anchor: str = "start") -> str:
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{left:g}" y="{top:g}"{place}>{escape(text)}</text>'
