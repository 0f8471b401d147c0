"""For all tests: where modules are found; a summary of what was skipped and why; in CI no skip nobody agreed to."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# The product, tests/support as `support`, and tests/machine/harness as `harness`, however pytest was started.
for folder in (HERE.parent / "src", HERE, HERE / "machine"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from support import order  # noqa: E402  it is found there

_ALLOWED = HERE / "support" / "allowed_skips.txt"
# Nothing here takes longer than this, seconds; the first test that needs a site waits until it is built.
_LONGEST = {"unit": 120, "security": 300, "machine": 900, "browser": 900}


def part_of(path: str) -> str:
    """The folder of tests/ that a test is in: unit, machine..."""
    inside = re.search(r"tests/([a-z]+)/", path.replace(os.sep, "/"))
    return inside[1] if inside else ""


def pytest_configure(config: pytest.Config) -> None:
    # Whoever starts this in the background of a shell, or with nohup, has these ignored, and so would everything that
    # tests start and then interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "soak: takes long and rarely fails alone: only with `./manylab test --all`")
    config.addinivalue_line("markers", "first: runs before others, which profit from what it leaves in the cache")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In order, and a limit of time for each test that has none of its own."""
    items.sort(key=lambda item: order.place(item.path.as_posix(), item.get_closest_marker("first") is not None))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LONGEST.get(part_of(item.path.as_posix()), 120)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.BySite | None:
    """Of the ways to share out the tests, `--dist loadfile` is the one that `./manylab test` takes."""
    return order.BySite(config, log) if config.getvalue("dist") == "loadfile" else None


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, without pytest's own words."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def allowed(reason: str) -> bool:
    """Whether support/allowed_skips.txt agrees to a skip with this reason (each line is a regular expression)."""
    lines = [line.strip() for line in _ALLOWED.read_text(encoding="utf-8").splitlines()]
    return any(re.fullmatch(line, reason) for line in lines if line and not line.startswith("#"))


def skips(config: pytest.Config) -> Counter[str]:
    """How many tests (or whole files) were skipped for which reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return Counter(reason_of(report) for report in (reporter.stats.get("skipped", []) if reporter else []))


def is_ci() -> bool:
    """Whether a skip must be on the list: CI=true is what every CI service sets."""
    return os.environ.get("CI", "").lower() in ("true", "1")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI: the run fails when something was skipped for a reason that nobody agreed to."""
    worker = hasattr(session.config, "workerinput")
    if (
        is_ci()
        and not worker
        and session.exitstatus == 0
        and any(not allowed(reason) for reason in skips(session.config))
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What ran where and for how long, and what did not and why; pytest's own closing line comes after it."""
    outcomes: Counter[tuple[str, str]] = Counter()
    seconds: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, []):
            outcomes[part_of(report.nodeid), outcome] += 1
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[part_of(report.nodeid)] += report.duration
                files[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("by part")
    for part in sorted({part for part, _ in outcomes}):
        counts = ", ".join(f"{count} {outcome}" for (where, outcome), count in outcomes.items() if where == part)
        terminalreporter.write_line(f"{part or 'other':<10} {seconds[part]:7.1f} s  {counts}")
    terminalreporter.section("slowest files")
    for path, taken in files.most_common(12):
        terminalreporter.write_line(f"{taken:7.1f} s  {path}")
    if found := skips(config):
        terminalreporter.section("skipped, by reason")
        for reason, count in found.most_common():
            verdict = "" if allowed(reason) else "  (not on support/allowed_skips.txt: a failure in CI)"
            terminalreporter.write_line(f"{count:4}  {reason}{verdict}")
