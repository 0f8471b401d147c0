"""The one list of checks, how a check is declared, and how it is run so that it cannot stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from manylab.base.errors import ManylabError
from manylab.cli.doctor.scene import Scene, Skip
from manylab.system import asking

Level = Literal["ok", "skipped", "warning", "problem"]
# From best to worst.
LEVELS: tuple[Level, ...] = ("ok", "skipped", "warning", "problem")
_REPORT = "report this, with what `manylab doctor --json` prints"
# Seconds for a check; the slowest reads logs, or works out what `apply` would change, on a slow disk.
_LONGEST = 40.0
_ONE_HUNG = 10.0


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
    return problem(f"check failed: {text}", _REPORT)


def examine_all(
    scene: Scene, checks: Mapping[str, Check], seconds: float = _LONGEST, afterwards: float = _ONE_HUNG
) -> Iterator[Examined]:
    """Every check, in order, each within this time. A child makes them, so that what they found out is found out once;
    one that hangs is left behind, and another child goes on with the next check.

    afterwards: seconds for each when one has hung, as others will at the same.
    """
    left = list(checks.values())
    while left:
        child = asking.Asked(lambda now=tuple(left): (_as_data(examine(one, scene)) for one in now))  # type: ignore[misc]
        try:
            while left:
                found = child.next(time.monotonic() + seconds)
                yield Examined(left.pop(0), tuple(Finding(*one) for one in found))
        except asking.NoAnswer:
            yield Examined(left.pop(0), (problem(f"check did not end within {seconds:g} s: what it looks at hangs"),))
            seconds = min(seconds, afterwards)
        except StopIteration:
            yield Examined(left.pop(0), (problem("check failed: its process ended", _REPORT),))
        finally:
            child.close()


def _as_data(examined: Examined) -> list[tuple[str, str, str]]:
    return [(one.level, one.what, one.mend) for one in examined.findings]


def count(examined: Iterable[Examined]) -> dict[Level, int]:
    """How many checks came out at each level."""
    found = [item.level for item in examined]
    return {level: found.count(level) for level in LEVELS}
