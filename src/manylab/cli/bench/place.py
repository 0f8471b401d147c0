"""Where a bench works: folders, an account group and names of its own, beside the site and never in it."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from manylab.base.layout import Layout

NAME = "manylab-bench"
GROUP = "manylab-bench"
PREFIX = "mlbench"


@dataclasses.dataclass(frozen=True)
class Place:
    """state: databases, logs and homes. run: sockets; short, since a socket's path has at most 107 characters."""

    state: Path
    run: Path

    @property
    def homes(self) -> Path:
        return self.state / "homes"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def programs(self) -> Path:
        """A note of each program that runs: its pid, and in it the moment it started."""
        return self.state / "programs"

    @property
    def stock(self) -> Path:
        """What the sides that are not manylab need."""
        return self.state / "stock"

    def layout(self, site: Layout) -> Layout:
        """The layout of the bench's own site: nothing of it is in the folders of the machine's."""
        return dataclasses.replace(
            site,
            config=self.state / "site/etc",
            program=self.state / "site/program",
            state=self.state / "site/state",
            run=self.run,
            logs=self.logs,
        )


def place_for(site: Layout) -> Place:
    """Beside the site's own folders."""
    return Place(site.state.parent / NAME, site.run.parent / NAME)


def name_of(number: int) -> str:
    """The throwaway account with this number, from 1."""
    return f"{PREFIX}{number:03d}"


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses now, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def empty(folder: Path) -> None:
    """Remove the folder with all that is in it; links in it are not followed."""
    shutil.rmtree(folder, ignore_errors=True)


def lines_with(folder: Path, words: str) -> list[str]:
    """Lines of all logs in a folder that have these words."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.log")))
    return [line for text in texts for line in text.splitlines() if words in line]


def last_lines(folder: Path, count: int = 15) -> Iterator[str]:
    """The ends of all logs in a folder, for a failure."""
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]:
            yield f"{path.name}: {line}"
