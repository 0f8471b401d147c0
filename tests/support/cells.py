"""Cells that print the same in a warm and in a cold kernel of one person. Each is an example of what could differ.

`cells.txt` has them, each after a line `%% NAME`. They run in this order in one kernel, so that a later one sees what
the earlier ones did. `first_cells.txt` has those that each come first in a kernel of their own. What differs between
two cold kernels as well (numbers of processes, addresses) they do not print.

Nobody can make alike, and so they do not compare: os.getppid() (the nursery in place of the server), the seed of hash()
and the addresses of what was loaded (one for all kernels of a nursery), classes of what was loaded (`__subclasses__`),
what the collector lists and counts, names that Cython's runtime keeps in sys.modules, compiled libraries that are in
memory before they are imported, how large the process once was. docs/explanation/security.md has all of it.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

# Variables that a kernel and its server change from start to start.
CHANGES = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTERHUB_API_TOKEN")
SETUP = f"CHANGES = {CHANGES!r}"


def cells(file: str = "cells.txt") -> dict[str, str]:
    """Name -> code, in the order in which they run."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    parts = re.split(r"^%% (.+)\n", text, flags=re.MULTILINE)[1:]
    return {name: code.strip("\n") for name, code in zip(parts[::2], parts[1::2], strict=True)}


def without_chance(text: str, *mine: tuple[str, str]) -> str:
    """What a cell printed, with addresses taken out, and names of this one kernel replaced: (its own, what for)."""
    for own, general in mine:
        text = re.sub(rf"(?<!\w){re.escape(own)}(?!\w)", general, text)
    return re.sub(r"\b(pid=|ipykernel_)\d+", r"\1PID", re.sub(r"0x[0-9a-f]+", "0x", text))


def difference(cold: dict[str, str], warm: dict[str, str]) -> str:
    """What is not the same, cell by cell; "" when nothing is."""
    found = []
    for name in cold:
        one, other = (re.split(r"(?<=[,\n]) ?", text) for text in (cold[name], warm[name]))
        found += [f"{name}: {line}" for line in difflib.unified_diff(one, other, "cold", "warm", lineterm="", n=0)]
    return "\n".join(found)
