"""What a shell offers at TAB, without the parser: importing that takes longer than somebody waits for a key.

The scripts of the shells are typer's (`manylab --install-completion`); they run `manylab` with `_MANYLAB_COMPLETE` and
the words typed so far. What can be typed is in completion.json, written by `completion_table`; names of environments
and people are looked up.
"""

from __future__ import annotations

import contextlib
import grp
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from manylab.base.layout import Layout

VARIABLE: Final = "_MANYLAB_COMPLETE"
TABLE: Final = Path(__file__).with_name("completion.json")
_USUAL_GROUP: Final = "manylab"


def main(environ: Mapping[str, str], layout: Layout) -> int:
    """Print what the shell's script expects; the status tells fish whether there is anything."""
    shell = environ[VARIABLE].removeprefix("complete_")
    words, begun = typed(shell, environ)
    found = sorted({(word, text) for word, text in offered(words, layout) if word.startswith(begun)})
    if not begun.startswith("-"):  # options are there when they are begun, or when there is nothing else
        found = [one for one in found if not one[0].startswith("-")] or found
    if environ.get("_TYPER_COMPLETE_FISH_ACTION") != "is-args":
        print(_FORMATS.get(shell, _FORMATS["bash"])(found))
    return 0 if found else 1


def typed(shell: str, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """The whole words after the program's name, and the one that is being typed."""
    if shell == "bash":
        words = _split(environ.get("COMP_WORDS", ""))[1:]
        place = int(environ.get("COMP_CWORD", "1")) - 1
        return words[:place], words[place] if place < len(words) else ""
    line = environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(line)[1:]
    if environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", ""):  # PowerShell
        return words[:-1], environ["_TYPER_COMPLETE_WORD_TO_COMPLETE"]
    return (words, "") if not words or line.endswith(" ") else (words[:-1], words[-1])


def offered(words: Sequence[str], layout: Layout) -> Iterator[tuple[str, str]]:
    """What may come after these words, with a text where there is one."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    plain = [word for word in words if not word.startswith("-")]
    name = next((one for n in (2, 1) if (one := " ".join(plain[:n])) in table["commands"]), None)
    if name is not None:
        yield from _for_command(table["commands"][name], name, words, table, layout)
        return
    outer = "".join(f"{word} " for word in plain)
    for command, entry in table["commands"].items():
        if command.startswith(outer):
            first, _, more = command.removeprefix(outer).partition(" ")
            yield first, "" if more else entry["help"]
    yield from () if plain else table["options"].items()


def _for_command(
    command: Mapping[str, Any], name: str, words: Sequence[str], table: Mapping[str, Any], layout: Layout
) -> Iterator[tuple[str, str]]:
    options, kinds = command["options"], command["arguments"]
    yield from ((option, one["help"]) for option, one in options.items())
    given, kind = -len(name.split()), ""
    for word in words:
        if kind:  # the value of the option before
            kind = ""
        elif word in options:
            kind = options[word]["takes"]
        else:
            given += not word.startswith("-")
    if not kind and kinds and (given < len(kinds) or command["more"]):
        kind = kinds[min(given, len(kinds) - 1)]
    yield from ((value, "") for value in values(kind, table, layout))


def values(kind: str, table: Mapping[str, Any], layout: Layout) -> Iterator[str]:
    """What can be there for an argument or option of this kind (its metavar, in capitals)."""
    yield from table["values"].get(kind, ())
    if kind in ("ENVIRONMENT", "SETTING"):
        for name in _environments(layout):
            yield from [name] if kind == "ENVIRONMENT" else []
            yield from (one.replace("NAME", name) for one in table["of_environments"].get(kind, ()))
    if kind in ("PERSON", "PART"):
        yield from _people(layout)


def _environments(layout: Layout) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from (path.name for path in layout.envs.iterdir() if (path / "current").is_symlink())


def _people(layout: Layout) -> Iterator[str]:
    """Members of the site's group. Its name is private where root's configuration is; what was made for it is not."""
    with contextlib.suppress(OSError, ValueError):
        made = [key.partition(" ")[2] for key in json.loads(layout.made_json.read_text()) if key.startswith("group ")]
        for name in {_USUAL_GROUP, *(name for name in made if not name.startswith(f"{_USUAL_GROUP}-"))}:
            with contextlib.suppress(KeyError):
                # Only names that no shell can take for anything else.
                yield from filter(re.compile(r"[\w.@+-]+").fullmatch, grp.getgrnam(name).gr_mem)


def _split(line: str) -> list[str]:
    """Words of a line that may end within quotes."""
    for end in ("", '"', "'"):
        with contextlib.suppress(ValueError):
            return shlex.split(line + end)
    return line.split()


def _zsh(found: Sequence[tuple[str, str]]) -> str:
    def quoted(text: str) -> str:
        escaped = text.replace('"', '""').replace("'", "''").replace("$", "\\$").replace("`", "\\`")
        return '"' + escaped.replace(":", r"\\:") + '"'

    pairs = [quoted(word) + (f":{quoted(text)}" if text else "") for word, text in found]
    return "_arguments '*: :((" + "\n".join(pairs) + "))'" if pairs else "_files"


def _fish(found: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{word}\t{text}" if text else word for word, text in found)


def _powershell(found: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{word}:::{text or ' '}" for word, text in found)


_FORMATS: Final[Mapping[str, Callable[[Sequence[tuple[str, str]]], str]]] = {
    "bash": lambda found: "\n".join(word for word, _ in found),
    "zsh": _zsh,
    "fish": _fish,
    "pwsh": _powershell,
    "powershell": _powershell,
}
