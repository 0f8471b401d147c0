"""The bench's end of the load generator: gives orders, hears how it went."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manylab.base.errors import Unhealthy
from manylab.system.run import clean_environment

# Seconds that leaving may take: all at once, with servers that take their time.
LEAVE_WITHIN = 120.0


@dataclass(frozen=True)
class Answer:
    """people: by name, what was measured, or {"failed": why}. wall, cpu: seconds of the generator itself."""

    people: dict[str, dict[str, Any]]
    wall: float
    cpu: float

    @property
    def failed(self) -> dict[str, str]:
        """Why it failed, for each for whom it did."""
        return {name: str(said["failed"]) for name, said in self.people.items() if "failed" in said}

    def values(self, key: str) -> list[float]:
        """What was measured, for those for whom it went well."""
        return [float(said[key]) for said in self.people.values() if "failed" not in said]


class Generator:
    """People with browsers, in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def arrive(self, site: str, people: Sequence[tuple[str, str]], within: float) -> Answer:
        """All sign in at the same moment and wait for their Lab."""
        return self._ask({"do": "arrive", "site": site, "people": people, "within": within})

    def kernel(self, people: Sequence[str], code: str, within: float) -> Answer:
        """Each opens a notebook with a new kernel and runs one cell."""
        return self._ask({"do": "kernel", "people": people, "code": code, "within": within})

    def cell(self, people: Sequence[str], code: str, within: float) -> Answer:
        """Each runs one more cell."""
        return self._ask({"do": "cell", "people": people, "code": code, "within": within})

    def leave(self, people: Sequence[str]) -> Answer:
        """All stop their servers and go."""
        return self._ask({"do": "leave", "people": people, "within": LEAVE_WITHIN})

    def _ask(self, order: dict[str, Any]) -> Answer:
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise Unhealthy("the load generator ended", hint="its last words are in generator.log")
        return Answer(**json.loads(line))


@contextlib.contextmanager
def generator(python: str, logs: Path) -> Iterator[Generator]:
    """Start one with the hub environment's Python; it ends with the block."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "generator.log").open("ab") as errors:
        process = subprocess.Popen(
            [python, "-I", "-m", "manylab.cli.bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=clean_environment(),
            cwd="/",
            start_new_session=True,
        )
    with process:
        try:
            yield Generator(process)
        finally:
            process.kill()
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
