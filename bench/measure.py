"""Everything at once, for the docs: `manylab bench`, all sides, and a browser, in one run. Started by bench/run."""

from __future__ import annotations

import argparse
import functools
import json
import platform
import re
import sys
from pathlib import Path

import pages
from playwright.sync_api import sync_playwright

import browser
from manylab.apply.site import look
from manylab.cli.bench import runner, svg, table
from manylab.cli.bench.report import Report, from_json
from manylab.cli.context import make_context
from manylab.cli.result import Progress

PROJECT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"


def main() -> int:
    """Measure, keep the results, renew the docs, print the table. Exit status: 0 done, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--people", type=int, default=60, help="how many at once; ten are tried as well")
    parser.add_argument("--alive", type=int, default=400, help="how many stay, at most; 0 for none")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--others-largest",
        type=int,
        default=2,
        metavar="N",
        help="the largest crowd comes this often to all sides but warm, where each time takes minutes; 0: as often as "
        "to warm",
    )
    parser.add_argument("--side", action="append", choices=runner.SIDES, help="only this side, may be given again")
    parser.add_argument("--only-browser", action="store_true", help="nothing but the browser")
    parser.add_argument("--results", type=Path, default=PROJECT / "bench/results", help="folder for the measurements")
    parser.add_argument(
        "--docs", type=Path, default=PROJECT / "docs", help="folder whose picture and tables are renewed"
    )
    parser.add_argument("--draw", type=Path, metavar="JSON", help="measure nothing, put these results into the docs")
    options = parser.parse_args()
    if options.draw:
        write_docs(from_json(json.loads(options.draw.read_text(encoding="utf-8"))), options.docs)
        return 0
    wanted = runner.Wanted(
        sides=tuple(name for name in runner.SIDES if name in (options.side or runner.SIDES)),
        cases=() if options.only_browser else (*("one", "crowd"), *(("alive",) if options.alive else ())),
        crowds=tuple(sorted({min(10, options.people), options.people})),
        alive=options.alive,
        # It takes long, and what a cold server takes does not depend on who started it.
        alive_sides=("warm", "local"),
        repeat=options.repeat,
        others_largest=options.others_largest if options.others_largest < options.repeat else 0,
    )
    context = make_context(as_json=False)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=browser.ARGUMENTS)
        # Its own first page takes longer than any other.
        chromium.new_page().goto("about:blank")
        more = runner.More(browser.METRICS, functools.partial(browser.measure, chromium))
        with Progress() as progress:
            found = runner.run(look(context.layout), wanted, progress.say, (more,))
        chromium.close()
    keep(found, options.results)
    if not found.interrupted:
        write_docs(found, options.docs)
    print(table.render(found))
    return 130 if found.interrupted else 0


def keep(found: Report, results: Path) -> None:
    """Every measurement."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{found.when[:10]}-{re.sub('[^a-z0-9]+', '-', platform.node().lower()).strip('-')}.json"
    path.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    print(path, file=sys.stderr)


def write_docs(found: Report, docs: Path) -> None:
    """The picture, and the tables of both pages."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    (docs / "images/bench.svg").write_text(svg.draw(found), encoding="utf-8")
    for name, chinese in (("performance.md", False), ("performance.zh-CN.md", True)):
        page = docs / "explanation" / name
        if page.exists():
            text = pages.replaced(page.read_text(encoding="utf-8"), pages.table(found, chinese=chinese))
            page.write_text(text, encoding="utf-8")
