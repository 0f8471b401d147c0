"""One bench from beginning to end: clean, make accounts, let the sides take turns, clean again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from manylab.apply.site import Site
from manylab.base.errors import EnvironmentFailed, Locked
from manylab.cli.bench import cases, people, place, programs, report, samples, stock_side
from manylab.cli.bench.generator import generator
from manylab.cli.bench.manylab_side import Manylab
from manylab.cli.bench.place import Place
from manylab.cli.bench.programs import Say
from manylab.cli.bench.report import Report
from manylab.cli.bench.samples import Sample
from manylab.cli.bench.sides import Installed, Side, installed

# In this order in the table; the first is what the others are compared with.
SIDES = ("warm", "cold", "local", "systemd")
CASES = ("one", "crowd", "alive")


@dataclass(frozen=True)
class Wanted:
    """crowds: sizes, rising. alive: people at the same time, 0 for none; alive_sides: on which sides. sides, cases: by
    name. others_largest: in how many repeats the largest of several crowds comes to all sides but the first (each time
    takes minutes and ends with people who have no server); 0: in all.
    """

    sides: tuple[str, ...] = SIDES
    cases: tuple[str, ...] = ("one", "crowd")
    crowds: tuple[int, ...] = (10,)
    alive: int = 0
    alive_sides: tuple[str, ...] = SIDES
    repeat: int = 5
    others_largest: int = 0

    def crowds_of(self, side: str, repeat: int) -> tuple[int, ...]:
        """Which crowds come to a side this time."""
        if "crowd" not in self.cases:
            return ()
        spared = self.others_largest and side != self.sides[0] and repeat > self.others_largest
        return self.crowds[:-1] if spared and len(self.crowds) > 1 else self.crowds

    @property
    def timed(self) -> bool:
        """Whether anything is measured several times."""
        return self.cases != ("alive",)

    @property
    def people(self) -> int:
        """How many accounts that takes."""
        crowds = self.crowds if "crowd" in self.cases else ()
        return max(cases.PAIR, *crowds, self.alive if "alive" in self.cases else 0)

    @property
    def metrics(self) -> tuple[samples.Metric, ...]:
        """The rows of the table."""
        rows = list(samples.ONE[:3])
        rows += [samples.crowd(size) for size in self.crowds]
        rows += samples.ONE[3:]
        return (*rows, *samples.alive(self.alive))


@dataclass(frozen=True)
class More:
    """A measurement that comes from outside manylab (bench/ has one with a browser). measure: given the side while it
    is up, and where the bench works.
    """

    metrics: tuple[samples.Metric, ...]
    measure: Callable[[cases.Visit, Place], Iterator[Sample]]


@dataclass
class Bench:
    """What a running bench has found so far."""

    site: Site
    wanted: Wanted
    place: Place
    envs: Installed
    say: Say
    more: tuple[More, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    load: list[dict[str, Any]] = field(default_factory=list)
    cold_starts: list[str] = field(default_factory=list)

    def sides(self) -> list[Side]:
        """Those that were asked for and can be had here."""
        found: list[Side] = []
        for name in self.wanted.sides:
            if name in ("warm", "cold"):
                found.append(Manylab(name, self.site, self.envs, self.place))
            elif name == "local":
                found.append(stock_side.local(self.envs, self.place))
            elif not self.site.facts.systemd_runs:
                self.skipped["systemdspawner"] = "systemd does not run here"
            else:
                try:
                    found.append(stock_side.systemd(self.envs, self.place, self.site.network, self.say))
                except EnvironmentFailed as error:
                    self.skipped["systemdspawner"] = error.message
        return found

    def measure(self, side: Side, repeat: int, crowd: list[tuple[str, str]], *, only_alive: bool = False) -> None:
        """Everything that is wanted of one side, once; or how many people it keeps alive."""
        self.say(f"{side.title}: starting its hub" + ("" if only_alive else f", {repeat} of {self.wanted.repeat}"))
        place.empty(self.place.logs)
        uids = {pwd.getpwnam(name).pw_uid for name, _ in crowd}
        with side.up() as url, generator(self.envs.hub_python, self.place.logs) as outside:
            visit = cases.Visit(side.name, repeat, url, outside, crowd, self.say)
            self.say(f"{side.title}: a rehearsal that is not measured")
            cases.rehearse(visit, kernels="one" in self.wanted.cases or only_alive)
            measurements = cases.alive(visit, self.wanted.alive) if only_alive else self._timed(visit, side.title)
            self.samples.extend(measurements)
            if side.name == "warm":
                # The warden and people's servers say so in their logs, which are new with each visit.
                self.cold_starts += place.lines_with(self.place.logs, "starts cold")
            self.load += [
                {"side": side.name, "repeat": repeat, "what": what, "cpu": round(cpu, 3), "wall": round(wall, 3)}
                for what, cpu, wall in visit.load
            ]
            # Whoever is still there goes now, all at once: a hub that was asked too much would take minutes for that.
            people.end_processes(uids)
        # A start that was still under way.
        people.end_processes(uids)

    def _timed(self, visit: cases.Visit, title: str) -> Iterator[Sample]:
        if "one" in self.wanted.cases:
            self.say(f"{title}: one person")
            yield from cases.one(visit)
        for extra in self.more:
            yield from extra.measure(visit, self.place)
        crowds = self.wanted.crowds_of(visit.side, visit.repeat)
        for size in crowds:
            self.say(f"{title}: {size} people at once")
            yield from cases.at_once(visit, size, stay=size == crowds[-1])


def run(site: Site, wanted: Wanted, say: Say, more: tuple[More, ...] = ()) -> Report:
    """Measure. Ctrl-C ends it early, with what there is; everything it made is removed in any case.

    Raises Locked when another bench runs, NotInstalled without a site.
    """
    os.umask(0o022)
    where = place.place_for(site.layout)
    bench = Bench(site, wanted, where, installed(site), say, more)
    began, interrupted = report.now(), False
    machine = report.look_at_machine(_packages(bench.envs))
    sides: list[Side] = []
    with _alone(where), _ending_in_order():
        clean(where, say)
        try:
            with people.crowd(where, wanted.people, say) as crowd:
                sides = bench.sides()
                for repeat in range(1, wanted.repeat + 1 if wanted.timed else 1):
                    for side in sides:
                        bench.measure(side, repeat, crowd)
                for side in sides if "alive" in wanted.cases else ():
                    if side.name not in wanted.alive_sides:
                        continue
                    bench.measure(side, 1, crowd, only_alive=True)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            with _undisturbed():
                clean(where, say)
    return Report(
        when=began,
        machine=machine,
        settings={
            "repeat": wanted.repeat,
            "crowds": list(wanted.crowds),
            "alive": wanted.alive,
            "others_largest": wanted.others_largest,
        },
        sides=report.side_infos(sides),
        metrics=(*wanted.metrics, *(metric for extra in more for metric in extra.metrics)),
        samples=tuple(bench.samples),
        skipped=bench.skipped,
        cold_starts=tuple(bench.cold_starts),
        load=tuple(bench.load),
        interrupted=interrupted,
    )


def clean(where: Place, say: Callable[[str], None]) -> None:
    """Remove everything that this bench, or one before it that was killed, has left."""
    programs.end_left_behind(where)
    people.remove(where, say)
    for folder in (where.run, where.state):
        place.empty(folder)


def _packages(envs: Installed) -> Any:
    return envs.hub.path / f"lib/python{envs.hub.python_minor}/site-packages"


@contextlib.contextmanager
def _alone(where: Place) -> Iterator[None]:
    """One bench at a time: two would measure each other. The kernel gives the lock back when its holder dies."""
    where.run.parent.mkdir(parents=True, exist_ok=True)
    with where.run.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked("another bench is running on this machine", hint="wait for it to end") from None
        yield


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """To be told to end (kill, a closed terminal) is like Ctrl-C."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not leave accounts behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
