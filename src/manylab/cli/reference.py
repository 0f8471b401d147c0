"""Writes docs/reference/commands.md and completion.json from the parser: `python -m manylab.cli.reference [folder]`."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main

from manylab.cli import main as entry
from manylab.cli.app import app

EXAMPLE = "\n\nExample: [bold]"

_TOP = """\
<!-- Written by `python -m manylab.cli.reference`; change the code, not this page. -->
# Commands

In a checkout the command is `./manylab`; where a site was made it is also `manylab`, on everybody's PATH.
`manylab COMMAND --help` prints the same text. Where root has a site, every command is about that one; `--own`, anywhere
in the command line, or `MANYLAB_SITE=own` in the environment means a site of one's own.

Every command that takes `--json` prints one JSON value on standard output and says everything else on standard error;
an error is then `{"error": {"code": ..., "message": ..., "hint": ...}}`. What the codes mean: [error codes](errors.md).

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed: the message says what happened and what to do next |
| 2 | wrong usage: no such command or option |
| 130 | interrupted by Ctrl-C; for `up` that is the way to stop it, and its status is then 0 |

Where a command has further statuses of its own, its text below says so.
"""


@dataclass(frozen=True)
class Entry:
    """One command. words: as it is typed, without "manylab". parser: click's Command."""

    words: tuple[str, ...]
    parser: Any

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def description(self) -> str:
        """Its text, each paragraph on one line."""
        text = _help(self.parser).partition(EXAMPLE)[0]
        return "\n\n".join(_plain(paragraph) for paragraph in text.split("\n\n"))

    @property
    def example(self) -> str:
        """What it shows as an example; "" when there is none."""
        return _plain(_help(self.parser).partition(EXAMPLE)[2])


def entries() -> tuple[Entry, ...]:
    """Every command that can be typed, in the order of the table of groups and then of their modules."""
    entry.load()
    order = [f"manylab.cli.{module}" for module in entry.GROUPS]
    found = _below((), typer.main.get_command(app))
    return tuple(sorted(found, key=lambda item: order.index(item.parser.callback.__module__)))


def page() -> str:
    """The whole of commands.md."""
    found = entries()
    lines = ["", "| command | what it does |", "|---|---|"]
    for item in found:
        first = _cell(first_sentence(item.description))
        lines.append(f"| [`manylab {item.name}`](#{_anchor(item)}) | {first} |")
    return _TOP + "\n".join(lines) + "\n" + "".join(_section(item) for item in found)


def write(folder: Path) -> None:
    """Write the page into this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.md").write_text(page(), encoding="utf-8")


def first_sentence(text: str) -> str:
    """How a text begins, without its full stop."""
    return re.split(r"(?<=[.:])\s", _plain(text))[0].rstrip(":.")


def _below(words: tuple[str, ...], parser: Any) -> Iterator[Entry]:
    children = getattr(parser, "commands", None)
    if children is None:
        yield Entry(words, parser)
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _below((*words, name), child)


def _section(item: Entry) -> str:
    arguments = [param for param in item.parser.params if param.param_type_name == "argument"]
    options = [
        param
        for param in item.parser.params
        if param.param_type_name == "option" and not param.hidden and param.name != "help"
    ]
    usage = ["manylab", *item.words, *(["[OPTIONS]"] if options else []), *(_argument(param) for param in arguments)]
    lines = ["", f'<a id="{_anchor(item)}"></a>', f"## manylab {item.name}", "", item.description, ""]
    lines += ["```", " ".join(usage), "```", ""]
    if arguments or options:
        kinds = get_type_hints(inspect.unwrap(item.parser.callback))
        rows = [(f"`{_metavar(param)}`", _plain(param.help or "")) for param in arguments]
        rows += [(_option(param, kinds[param.name]), _plain(param.help or "") + _default(param)) for param in options]
        lines += ["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows), ""]
    return "\n".join([*lines, f"Example: `{item.example}`", ""])


def _help(parser: Any) -> str:
    return str(parser.help or "").strip()


def _plain(text: str) -> str:
    """Without rich's marks ("[bold]...[/]"), and on one line."""
    return " ".join(re.sub(r"\[/?(?:bold)?\]", "", text).split())


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name).upper().strip("[]").replace("|", "\\|")


def _argument(param: Any) -> str:
    name = str(param.metavar or param.name).upper()
    return name if param.required or name.startswith("[") else f"[{name}]"


def _option(param: Any, kind: Any) -> str:
    """Its names, and what it takes: "`--lines`, `-n` NUMBER". kind: the type of the function's parameter."""
    names = ", ".join(f"`{name}`" for name in sorted((*param.opts, *param.secondary_opts), key=len, reverse=True))
    if param.is_flag:
        return names
    types = [one for one in (kind, *get_args(kind)) if isinstance(one, type)]
    choices = [str(member.value) for one in types if issubclass(one, enum.Enum) for member in one]
    takes = param.metavar or "\\|".join(choices) or ("NUMBER" if {int, float} & {*types} else param.name.upper())
    return f"{names} {takes}"


def _default(param: Any) -> str:
    value = param.default
    if param.is_flag or callable(value) or value is None or value == "":
        return ""
    return f" Default: {value:g}." if isinstance(value, int | float) else f" Default: {value}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(item: Entry) -> str:
    return "-".join(item.words)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
    importlib.import_module("manylab.cli.completion_table").write()  # which imports this module
