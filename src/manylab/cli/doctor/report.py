"""What `doctor` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manylab.cli.doctor.table import Examined, Finding, Level, count
from manylab.cli.look.follow import printable
from manylab.cli.result import plural

_MARKS: dict[Level, str] = {"ok": "ok", "skipped": "skipped", "warning": "WARNING", "problem": "PROBLEM"}
_WIDTH = 9


def as_json(examined: Sequence[Examined]) -> dict[str, Any]:
    """Every check with its findings, and the summary."""
    return {
        "summary": {"checks": len(examined), **count(examined)},
        "checks": [
            {
                "id": item.check.id, "title": item.check.title, "level": item.level, "why": item.check.why,
                "findings": [{"level": one.level, "what": one.what, "mend": item.advice(one)} for one in item.findings],
            }
            for item in examined
        ],
    }  # fmt: skip


def as_text(examined: Sequence[Examined], *, everything: bool) -> str:
    """Findings that need somebody, or all checks; then the summary."""
    lines: list[str] = []
    for item in examined:
        shown = [one for one in item.findings if everything or one.level in ("warning", "problem")]
        if everything and not shown:
            shown = [Finding("ok", item.check.title)]
        for one in shown:
            lines += _finding(item, one)
    return "\n".join([*lines, *([""] if lines else []), summary(examined)])


def _finding(item: Examined, one: Finding) -> list[str]:
    indent = " " * _WIDTH
    lines = [f"{_MARKS[one.level]:<{_WIDTH}}{item.check.id}: {printable(one.what)}"]
    if one.level in ("warning", "problem"):
        lines += [f"{indent}why:  {item.check.why}", f"{indent}mend: {printable(item.advice(one))}"]
    return lines


def summary(examined: Sequence[Examined]) -> str:
    """Like "62 checks: 60 fine, 1 warning, 1 problem"."""
    found = count(examined)
    parts = [f"{found['ok']} fine"]
    parts += [plural(found["warning"], "warning")] if found["warning"] else []
    parts += [plural(found["problem"], "problem")] if found["problem"] else []
    parts += [f"{found['skipped']} skipped"] if found["skipped"] else []
    return f"{len(examined)} checks: {', '.join(parts)}"
