"""What was measured, and what is made of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Metric:
    """One row of the table. unit: "s", "MiB" or "people". more_is_better: only for people."""

    name: str
    title: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True)
class Sample:
    """One measurement. repeat: from 1. value: None when it failed. failed: what went wrong, also for a part of a crowd.

    parts: the single values behind it (each person's of a crowd).
    """

    side: str
    repeat: int
    metric: str
    value: float | None
    failed: str = ""
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Summary:
    """n: measurements that gave a value; lost: those that did not. failures: what went wrong, each sentence once."""

    n: int
    lost: int
    median: float
    low: float
    high: float
    quartiles: tuple[float, float]
    failures: tuple[str, ...] = ()


ONE = (
    Metric("signed-in", "password checked", "s"),
    Metric("server", "server ready", "s"),
    Metric("lab", "one Lab ready", "s"),
    Metric("kernel", "kernel and first cell", "s"),
    Metric("stack", "the same with numpy, pandas, matplotlib", "s"),
    Metric("server-private", "private memory of an idle server", "MiB"),
    Metric("server-pss", "its proportional share (PSS)", "MiB"),
    Metric("server-page-tables", "its page tables", "MiB"),
    Metric("kernel-private", "private memory of an idle kernel with that stack", "MiB"),
    Metric("kernel-pss", "its proportional share (PSS)", "MiB"),
    Metric("kernel-page-tables", "its page tables", "MiB"),
)


def crowd(size: int) -> Metric:
    """The row of so many at once."""
    return Metric(f"crowd-{size}", f"{size} at once: the last Lab ready", "s")


def alive(size: int) -> tuple[Metric, ...]:
    """The rows of so many people at work at the same time."""
    return (
        Metric("alive", f"people at work of {size}, all answering", "people", more_is_better=True),
        Metric("alive-memory", "memory of the machine for each of them", "MiB"),
        Metric("alive-answer", "all asked at once: the last answer", "s"),
    )


def summarise(samples: Iterable[Sample]) -> Summary | None:
    """Of one metric of one side. A sample that failed has no value; None when there is nothing at all."""
    found = list(samples)
    if not found:
        return None
    values = sorted(sample.value for sample in found if sample.value is not None)
    failures = tuple(dict.fromkeys(sample.failed for sample in found if sample.failed))
    if not values:
        nothing = float("nan")
        return Summary(0, len(found), nothing, nothing, nothing, (nothing, nothing), failures)
    middle = statistics.median(values)
    return Summary(len(values), len(found) - len(values), middle, values[0], values[-1], quartiles(values), failures)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third; of one value, that value."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def ratio(base: Summary | None, other: Summary | None, metric: Metric) -> float | None:
    """How many times better `base` is; None when a measurement of one of them failed."""
    if base is None or other is None or not base.n or not other.n or other.lost or base.lost:
        return None
    better, worse = (other, base) if metric.more_is_better else (base, other)
    return worse.median / better.median if better.median else None
