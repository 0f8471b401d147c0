"""The one list of checks, how a check is declared, and how it is run so that it cannot stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from manylab.base.errors import ManylabError
from manylab.cli.doctor.scene import Scene, Skip

Level = Literal["ok", "skipped", "warning", "problem"]
# From best to worst.
LEVELS: tuple[Level, ...] = ("ok", "skipped", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """One thing that was seen. what: a plain sentence.

    mend: the command for this case; "" for the check's own advice.
    """

    level: Level
    what: str
    mend: str = ""


Look = Callable[[Scene], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """One question about the machine. title: what is so when all is well. why: what happens otherwise.

    mend: what helps.
    """

    id: str
    title: str
    why: str
    mend: str
    look: Look

    @property
    def group(self) -> str:
        """The module that it is declared in, for the reference."""
        return self.look.__module__.rpartition(".")[2]


@dataclass(frozen=True)
class Examined:
    """A check and what it found. level: that of its worst finding; "ok" without any."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    def advice(self, finding: Finding) -> str:
        """The command that mends a finding; none for what is fine."""
        return (finding.mend or self.check.mend) if finding.level in ("warning", "problem") else ""


TABLE: dict[str, Check] = {}


def check(id: str, title: str, *, why: str, mend: str) -> Callable[[Look], Look]:
    """Register a function as a check: it yields what is not as it should be, nothing when all is well, and raises
    Skip when it cannot tell.
    """

    def register(look: Look) -> Look:
        assert id not in TABLE, id
        TABLE[id] = Check(id, title, why, mend, look)
        return look

    return register


def problem(what: str, mend: str = "") -> Finding:
    return Finding("problem", what, mend)


def warning(what: str, mend: str = "") -> Finding:
    return Finding("warning", what, mend)


def fine(what: str) -> Finding:
    """Worth saying with `--all`, and not wrong."""
    return Finding("ok", what)


def examine(asked: Check, scene: Scene) -> Examined:
    """Run one check. Whatever it raises becomes a finding of its own."""
    try:
        return Examined(asked, tuple(asked.look(scene)))
    except Skip as reason:
        return Examined(asked, (Finding("skipped", str(reason)),))
    except PermissionError as error:
        if not scene.root:
            return Examined(asked, (Finding("skipped", f"only root may look at {error.filename or 'this'}"),))
        return Examined(asked, (_failed(error),))
    except Exception as error:
        return Examined(asked, (_failed(error),))


def _failed(error: Exception) -> Finding:
    text = error.message if isinstance(error, ManylabError) else f"{type(error).__name__}: {error}"
    return problem(f"check failed: {text}", "report this, with what `manylab doctor --json` prints")


def examine_all(scene: Scene, checks: Mapping[str, Check]) -> Iterator[Examined]:
    """Every check, one after the other."""
    for asked in checks.values():
        yield examine(asked, scene)


def count(examined: Iterable[Examined]) -> dict[Level, int]:
    """How many checks came out at each level."""
    found = [item.level for item in examined]
    return {level: found.count(level) for level in LEVELS}
