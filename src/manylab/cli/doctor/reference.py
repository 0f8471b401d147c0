"""Writes docs/reference/doctor.md from the table of checks: `python -m manylab.cli.doctor.reference [folder]`."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from manylab.cli.doctor.checks import ALL, TITLES


def page() -> str:
    """The whole page."""
    parts = [
        "<!-- Written by `python -m manylab.cli.doctor.reference`; change the code, not this page. -->\n"
        "# manylab doctor\n\n"
        "Looks for what is wrong with the machine and the site, says why it matters and which command mends it.\n"
        "It changes nothing. "
        f"There are {len(ALL)} checks. `manylab doctor` shows what is not as it should be, `--all` every\n"
        "check, `--only ID` one of them, `--json` everything for programs;\n"
        "it ends with status 1 when there is a problem, with 0 when there are at most warnings.\n"
    ]
    for group, checks in groupby(ALL.values(), key=lambda check: check.group):
        parts.append(f"\n## {TITLES[group]}\n")
        for check in checks:
            parts.append(
                f"\n### {check.id}\n\n{check.title}.\n\n"
                f"**Why it matters:** {check.why}\n\n**What to do:** {check.mend}\n"
            )
    return "".join(parts)


def write(folder: Path) -> None:
    (folder / "doctor.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/reference"))
