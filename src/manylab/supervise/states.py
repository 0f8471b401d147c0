"""The states of a service, the one table of legal moves, and how long to wait before a restart. Pure, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FIRST_DELAY = 0.2  # seconds
LONGEST_DELAY = 30.0
LIFE_THAT_FORGIVES = 60.0
# A service that was ready and then died is probably somebody's `kill` or the kernel out of memory: it costs an eighth
# of a doubling, so that 20 kills in a row still end within about a second each, and an endless series reaches 30 s.
COST_OF_DYING_READY = 0.125
COST_OF_NOT_STARTING = 1.0


class State(str, Enum):
    """Where a service is in its life."""

    WAITING = "waiting"  # not started yet: a service before it is not ready
    STARTING = "starting"  # the process is there and does not answer yet
    RUNNING = "running"  # answers
    STOPPING = "stopping"  # has been asked to end
    BACKOFF = "backoff"  # ended by itself; is started again after a while
    STOPPED = "stopped"  # ended because it was asked to


NEXT: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.STARTING, State.STOPPED}),
    State.STARTING: frozenset({State.RUNNING, State.STOPPING, State.BACKOFF}),
    State.RUNNING: frozenset({State.STOPPING, State.BACKOFF}),
    State.STOPPING: frozenset({State.STOPPED, State.BACKOFF}),
    State.BACKOFF: frozenset({State.STARTING, State.STOPPED}),
    State.STOPPED: frozenset({State.WAITING}),
}

HAS_PROCESS = frozenset({State.STARTING, State.RUNNING, State.STOPPING})


class IllegalMove(AssertionError):
    """The supervisor's own mistake: a move that the table does not have."""


def move(now: State, then: State) -> State:
    """The new state, if the table allows it; raises IllegalMove otherwise."""
    if then not in NEXT[now]:
        raise IllegalMove(f"from {now.value} to {then.value}")
    return then


@dataclass(frozen=True)
class Backoff:
    """How impatient one may still be. `steps`: doublings of the first delay since the service last lived long."""

    steps: float = 0.0

    def after_exit(self, *, lived: float, was_ready: bool) -> Backoff:
        """The backoff after a process that lived so many seconds has ended by itself."""
        cost = COST_OF_DYING_READY if was_ready else COST_OF_NOT_STARTING
        if lived >= LIFE_THAT_FORGIVES:
            return Backoff(cost)
        return Backoff(self.steps + cost)

    @property
    def delay(self) -> float:
        """Seconds to wait before the next start: 0.2 after the first failure, doubling up to 30."""
        if self.steps <= 0:
            return 0.0
        doublings = min(self.steps - 1.0, 16.0)  # bounded before the power, which would overflow after weeks
        growth: float = 2.0 ** max(0.0, doublings)
        return min(LONGEST_DELAY, FIRST_DELAY * growth)
