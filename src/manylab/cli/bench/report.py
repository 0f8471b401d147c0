"""A finished bench as data: for JSON, and for whoever draws it. Pure, but for looking at the machine."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import manylab
from manylab.cli.bench import memory
from manylab.cli.bench.samples import MIB, Metric, Sample, Summary, ratio, summarise

VERSION = 1


@dataclass(frozen=True)
class SideInfo:
    """A side as it is shown. See sides.Side."""

    name: str
    title: str
    about: str


@dataclass(frozen=True)
class Report:
    """Everything about one run. skipped: sides that could not be measured, with the reason. load: what the generator
    itself used, by side: processor seconds and seconds. cold_starts: what the log says of starts that should have been
    warm and were not.
    """

    when: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    sides: tuple[SideInfo, ...]
    metrics: tuple[Metric, ...]
    samples: tuple[Sample, ...]
    skipped: dict[str, str]
    load: tuple[dict[str, Any], ...]
    cold_starts: tuple[str, ...] = ()
    interrupted: bool = False

    def summary(self, side: str, metric: Metric) -> Summary | None:
        """Of one cell of the table; None when it was not measured."""
        return summarise(sample for sample in self.samples if (sample.side, sample.metric) == (side, metric.name))

    def ratio(self, side: str, metric: Metric) -> float | None:
        """How many times better the first side is than this one."""
        first = self.sides[0].name
        return None if side == first else ratio(self.summary(first, metric), self.summary(side, metric), metric)

    @property
    def measured(self) -> tuple[Metric, ...]:
        """Rows that have at least one measurement."""
        there = {sample.metric for sample in self.samples}
        return tuple(metric for metric in self.metrics if metric.name in there)

    @property
    def generator_share(self) -> float:
        """The most that the load generator used of one processor while something was measured."""
        return max((item["cpu"] / item["wall"] for item in self.load if item["wall"] > 0), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Every sample, and what was made of them."""
        summaries = []
        for metric in self.measured:
            for side in self.sides:
                if (found := self.summary(side.name, metric)) is not None:
                    row = {"metric": metric.name, "side": side.name, "times": self.ratio(side.name, metric)}
                    summaries.append({**row, **_finite(asdict(found))})
        return {
            "version": VERSION,
            "when": self.when,
            "interrupted": self.interrupted,
            "machine": self.machine,
            "settings": self.settings,
            "sides": [asdict(side) for side in self.sides],
            "skipped": self.skipped,
            "cold_starts": list(self.cold_starts),
            "metrics": [asdict(metric) for metric in self.measured],
            "summaries": summaries,
            "samples": [asdict(sample) for sample in self.samples],
            "generator": {"most_of_one_processor": round(self.generator_share, 3), "orders": list(self.load)},
        }


def from_json(data: dict[str, Any]) -> Report:
    """What `as_json` gave, to draw it again."""
    return Report(
        when=data["when"],
        machine=data["machine"],
        settings=data["settings"],
        sides=tuple(SideInfo(**side) for side in data["sides"]),
        metrics=tuple(Metric(**metric) for metric in data["metrics"]),
        samples=tuple(Sample(**{**sample, "parts": tuple(sample["parts"])}) for sample in data["samples"]),
        skipped=data["skipped"],
        load=tuple(data["generator"]["orders"]),
        cold_starts=tuple(data["cold_starts"]),
        interrupted=data["interrupted"],
    )


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no "not a number"."""
    return row if row["n"] else {**row, "median": None, "low": None, "high": None, "quartiles": None}


def now() -> str:
    """This moment, with the offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def look_at_machine(hub_packages: Path) -> dict[str, Any]:
    """What somebody needs to know to judge the numbers. hub_packages: site-packages of the hub environment."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": memory.machine()[0] // MIB,
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pid_1": _first_process(),
        "load_before": round(os.getloadavg()[0], 2),
        "manylab": manylab.__version__,
        **{name: _version(hub_packages, name) for name in ("jupyterhub", "tornado")},
    }


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    gib = machine["memory_mib"] / 1024
    return (
        f"{machine['cores']} cores of {machine['processor']}, {gib:.0f} GiB, {machine['system']}, "
        f"Linux {machine['kernel']}, JupyterHub {machine['jupyterhub']}"
    )


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _first_process() -> str:
    return Path("/proc/1/comm").read_text(encoding="utf-8").strip()


def _version(folder: Path, package: str) -> str:
    for found in metadata.distributions(name=package, path=[str(folder)]):
        return found.version
    return ""


def side_infos(sides: Sequence[Any]) -> tuple[SideInfo, ...]:
    """Of sides, what is shown of them."""
    return tuple(SideInfo(side.name, side.title, side.about) for side in sides)
