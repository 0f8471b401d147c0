"""What is measured on a side while it is up. Each case gives samples; none of them stops at a failure."""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from manylab.cli.bench import memory
from manylab.cli.bench.generator import Answer, Generator
from manylab.cli.bench.programs import Say
from manylab.cli.bench.samples import MIB, Sample, crowd

# Nobody waits longer for a page; who has no Lab by then is counted as a failure.
PATIENCE = 120.0
FIRST_CELL = "print(6 * 7)"
STACK_CELL = "import numpy, pandas, matplotlib.pyplot\nprint(numpy.arange(4).sum() + pandas.Series([36]).sum())"
WORK_CELL = "print(int((numpy.arange(2000) ** 2).sum() % 1000))"
WORK_ANSWER = str(sum(number * number for number in range(2000)) % 1000)
# Who comes alone, and somebody else, since what processes share shows only when there are two.
PAIR = 2
WAVE = 10
# Below this part of the memory something would be ended: manylab keeps a tenth for the machine itself.
RESERVE = 0.12


@dataclass
class Visit:
    """One side while it is up, in one repeat. people: (name, password), at least two.

    load: processor seconds of the generator and seconds it took, for each thing measured.
    """

    side: str
    repeat: int
    url: str
    generator: Generator
    people: Sequence[tuple[str, str]]
    say: Say
    load: list[tuple[str, float, float]] = field(default_factory=list)

    def sample(self, metric: str, value: float | None, failed: str = "", parts: Sequence[float] = ()) -> Sample:
        return Sample(self.side, self.repeat, metric, value, failed, tuple(parts))

    def note(self, what: str, answer: Answer) -> Answer:
        """Keep what the generator itself used."""
        self.load.append((what, answer.cpu, answer.wall))
        return answer


def rehearse(visit: Visit, *, kernels: bool) -> None:
    """The first two come, work and go, unmeasured: for disk caches, the hub's code, the caches in their homes."""
    pair = [name for name, _ in visit.people[:PAIR]]
    visit.generator.arrive(visit.url, visit.people[:PAIR], PATIENCE)
    if kernels:
        visit.generator.kernel(pair, STACK_CELL, PATIENCE)
    visit.generator.leave(pair)


def one(visit: Visit) -> Iterator[Sample]:
    """One person alone: Lab, kernel, kernel with packages. Then a second one, and the memory that they take."""
    (first, _), (second, _) = visit.people[:PAIR]
    yield from _times(visit, first)
    yield from _sizes(visit, second)
    visit.generator.leave([first, second])


def _times(visit: Visit, name: str) -> Iterator[Sample]:
    said = visit.note("lab", visit.generator.arrive(visit.url, visit.people[:1], PATIENCE)).people[name]
    if "failed" in said:
        yield visit.sample("lab", None, said["failed"])
        return
    for metric in ("signed-in", "server", "lab"):
        yield visit.sample(metric, said[metric])
    uid = pwd.getpwnam(name).pw_uid
    for metric, code in (("kernel", FIRST_CELL), ("stack", STACK_CELL)):
        memory.settled(uid)
        said = visit.note(metric, visit.generator.kernel([name], code, PATIENCE)).people[name]
        if said.get("printed", "").strip() == "42":
            yield visit.sample(metric, said["seconds"])
        else:
            yield visit.sample(metric, None, said.get("failed") or f"printed {said['printed']!r}")


def _sizes(visit: Visit, name: str) -> Iterator[Sample]:
    """Of a second person's server and kernel: what they share with the first one's (the code of libraries, say) costs
    nothing more, and so is not private.
    """
    uid = pwd.getpwnam(name).pw_uid
    came = visit.generator.arrive(visit.url, visit.people[1:PAIR], PATIENCE)
    server = memory.settled(uid)
    yield from _memory(visit, "server", memory.usage(server), came)
    ran = visit.generator.kernel([name], STACK_CELL, PATIENCE)
    yield from _memory(visit, "kernel", memory.usage(memory.settled(uid) - server), ran)


def _memory(visit: Visit, what: str, used: memory.Usage, answer: Answer) -> Iterator[Sample]:
    if answer.failed or not used.processes:
        yield visit.sample(f"{what}-private", None, next(iter(answer.failed.values()), "no process was found"))
        return
    yield visit.sample(f"{what}-private", used.private / MIB)
    yield visit.sample(f"{what}-pss", used.pss / MIB)
    yield visit.sample(f"{what}-page-tables", used.page_tables / MIB)


def at_once(visit: Visit, size: int, *, stay: bool) -> Iterator[Sample]:
    """So many people sign in at the same moment; what counts is the last Lab, and that everybody has one.

    stay: nobody leaves in the end. With a hub that was asked too much, leaving may take minutes.
    """
    people = visit.people[:size]
    answer = visit.note(f"crowd-{size}", visit.generator.arrive(visit.url, people, PATIENCE))
    there = sorted(answer.values("lab"))
    failed = answer.failed
    why = ""
    if failed:
        common = max(set(failed.values()), key=list(failed.values()).count)
        why = f"{len(failed)} of {size} failed: {common}"
    yield visit.sample(crowd(size).name, there[-1] if not failed else None, why, there)
    if not stay:
        visit.generator.leave([name for name, _ in people])


def alive(visit: Visit, size: int) -> Iterator[Sample]:
    """People come in groups of ten, each with a Lab and a kernel with packages, and stay; in the end all are asked to
    compute something at the same moment.
    """
    total, before = memory.machine()
    here: list[str] = []
    stopped = ""
    taken: list[float] = []
    while len(here) < size and not stopped:
        wave = visit.people[len(here) : min(len(here) + WAVE, size)]
        names = [name for name, _ in wave]
        failed = visit.generator.arrive(visit.url, wave, PATIENCE).failed
        failed |= visit.generator.kernel([name for name in names if name not in failed], STACK_CELL, PATIENCE).failed
        here += [name for name in names if name not in failed]
        available = memory.machine()[1]
        taken.append((before - available) / MIB)
        visit.say(f"{visit.side}: {len(here)} people at work, {available // MIB} MiB of memory left")
        if failed:
            stopped = f"the next did not come in: {next(iter(failed.values()))}"
        elif available < total * RESERVE and len(here) < size:
            stopped = f"no memory for more ({available // MIB} MiB left)"
    used = before - memory.machine()[1]
    answer = visit.note("alive", visit.generator.cell(here, WORK_CELL, PATIENCE))
    right = [said["seconds"] for said in answer.people.values() if said.get("printed", "").strip() == WORK_ANSWER]
    silent = f"{len(here) - len(right)} did not answer" if len(right) < len(here) else ""
    # parts: memory that was taken after each group
    yield visit.sample("alive", float(len(right)), "; ".join(filter(None, (stopped, silent))), taken)
    if here and right:
        yield visit.sample("alive-memory", used / MIB / len(here))
        yield visit.sample("alive-answer", max(right), "", right)
