"""Several environments at once: while one is downloaded, another is compiled and a third is tried.

One of each kind at a time: two downloads share one line, and compiling takes all processors there are.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manylab.model.resources import Environment
from manylab.system.run import ENDED_BY


class Queue:
    """For one at a time, in the order in which they come; a lock lets anybody in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait, and be the one until the block ends."""
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me)
        try:
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()


@dataclass
class Stages:
    """What one environment waits for before it goes on. compiled: those that are as they will be, if they are used."""

    fetching: Queue = field(default_factory=Queue)
    compiling: Queue = field(default_factory=Queue)
    trying: Queue = field(default_factory=Queue)
    ended: threading.Event = field(default_factory=threading.Event)
    compiled: list[Path] = field(default_factory=list)

    @contextlib.contextmanager
    def one(self, stage: Queue) -> Iterator[None]:
        """Alone in this stage. Raises GivenUpError when another has failed meanwhile."""
        with stage.turn():
            if self.ended.is_set():
                raise GivenUpError
            yield


class GivenUpError(Exception):
    """Another environment failed: this one is of no use."""


def build_all(wants: Sequence[Environment], build: Callable[[Environment, Stages], None]) -> None:
    """Build them. Raises what the first of them raises that fails, when all have ended and nothing of them runs."""
    stages, failures = Stages(), list[BaseException]()

    def one(want: Environment) -> None:
        ENDED_BY.set(stages.ended)
        try:
            build(want, stages)
        except BaseException as error:
            # The first; what others say after that is that they were ended.
            if not stages.ended.is_set():
                failures.append(error)
            stages.ended.set()

    # npm, whose cache is not compiled and which is waited for least, comes last.
    ordered = sorted(wants, key=lambda want: want.npm is not None)
    threads = [threading.Thread(target=one, args=(want,), name=f"build {want.name}") for want in ordered]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C
        stages.ended.set()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
