"""What a bench makes of its measurements: statistics, the table, JSON, the picture. Nothing is measured here."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from manylab.cli.bench import cases, place, svg, table
from manylab.cli.bench.generator import Answer, Generator
from manylab.cli.bench.report import Report, SideInfo, from_json
from manylab.cli.bench.runner import Wanted
from manylab.cli.bench.samples import Metric, Sample, alive, quartiles, ratio, summarise
from manylab.cli.look import top_processes

SECONDS = Metric("lab", "one Lab ready", "s")
PEOPLE = alive(400)[0]
MACHINE = {
    "processor": "A processor",
    "cores": 2,
    "memory_mib": 24576,
    "system": "Debian 12",
    "kernel": "6.1",
    "jupyterhub": "6.1.1",
}


def samples(side: str, *values: float | None, metric: str = "lab") -> tuple[Sample, ...]:
    return tuple(
        Sample(side, number, metric, value, "" if value is not None else "12 of 60 failed: no answer in 120 s")
        for number, value in enumerate(values, 1)
    )


def report(*found: Sample, repeat: int = 5) -> Report:
    sides = (SideInfo("warm", "manylab, warm", "this one"), SideInfo("local", "LocalProcessSpawner", "as it <comes>"))
    metrics = Wanted(crowds=(10, 60), alive=400).metrics
    load = ({"side": "warm", "repeat": 1, "what": "lab", "cpu": 0.1, "wall": 2.0},)
    settings = {"repeat": repeat, "crowds": [10, 60], "alive": 400}
    return Report("2026-11-23T18:00:00+0000", MACHINE, settings, sides, metrics, found, {}, load)


FULL = report(
    *samples("warm", 0.5, 0.4, 0.6, 0.45, 0.55),
    *samples("local", 4.0, 5.0, 6.0, 4.5, 5.5),
    *samples("warm", 10.0, 9.0, 11.0, 9.5, 10.5, metric="crowd-60"),
    *samples("local", None, None, None, None, None, metric="crowd-60"),
    *samples("warm", 400.0, metric="alive"),
    *samples("local", 100.0, metric="alive"),
)


def test_what_was_measured_less_often_is_said_wherever_the_numbers_are_shown():
    settings = {**FULL.settings, "others_largest": 2}
    spared = replace(FULL, settings=settings)
    sentence = "60 people at once: 5 times with manylab, warm, 2 times with the others."
    assert sentence in "\n".join(table.notes(spared)) and sentence in svg.draw(spared)
    assert sentence not in "\n".join(table.notes(FULL)) and sentence not in svg.draw(FULL)


def test_the_largest_crowd_comes_less_often_to_the_sides_that_cannot_carry_it():
    wanted = Wanted(sides=("warm", "local"), crowds=(10, 60), others_largest=2)
    assert [wanted.crowds_of("warm", repeat) for repeat in (1, 5)] == [(10, 60), (10, 60)]
    assert [wanted.crowds_of("local", repeat) for repeat in (2, 3)] == [(10, 60), (10,)]
    assert Wanted(crowds=(10,), others_largest=2).crowds_of("local", 3) == (10,)


def test_a_summary_has_the_median_the_spread_and_the_quartiles():
    found = summarise(samples("warm", 3.0, 1.0, 2.0, 5.0, 4.0))
    assert found is not None
    assert (found.n, found.lost, found.median, found.low, found.high) == (5, 0, 3.0, 1.0, 5.0)
    assert found.quartiles == (2.0, 4.0)


def test_one_measurement_is_its_own_spread():
    assert quartiles([7.0]) == (7.0, 7.0)


def test_what_was_not_measured_has_no_summary():
    assert summarise(()) is None


def test_a_failure_is_counted_and_never_averaged():
    found = summarise(samples("local", 1.0, None, 3.0))
    assert found is not None
    assert (found.n, found.lost, found.median) == (2, 1, 2.0)
    assert found.failures == ("12 of 60 failed: no answer in 120 s",)


def test_where_nothing_worked_there_is_no_number():
    found = summarise(samples("local", None, None))
    assert found is not None
    assert (found.n, found.lost) == (0, 2)
    assert math.isnan(found.median)


def test_a_ratio_says_how_many_times_longer_the_other_takes():
    assert ratio(summarise(samples("warm", 0.5)), summarise(samples("local", 5.0)), SECONDS) == 10


def test_of_people_more_is_better():
    assert ratio(summarise(samples("warm", 400.0)), summarise(samples("local", 100.0)), PEOPLE) == 4


@pytest.mark.parametrize("other", [(), (None,), (5.0, None)])
def test_nothing_is_compared_with_a_failure(other: tuple[float | None, ...]):
    assert ratio(summarise(samples("warm", 0.5)), summarise(samples("local", *other)), SECONDS) is None


def test_the_table_shows_medians_spreads_ratios_and_failures():
    text = table.render(FULL)
    assert "0.50 s" in text
    assert "0.4 to 0.6" in text
    assert "(10x)" in text
    assert "failed 5 of 5 times" in text
    assert "12 of 60 failed" in text
    assert "2 cores of A processor, 24 GiB, Debian 12, Linux 6.1, JupyterHub 6.1.1" in text
    assert "used at most 5% of one processor" in text


def test_rows_without_a_measurement_are_left_out():
    assert "kernel and first cell" not in table.render(FULL)


def test_the_table_says_when_the_generator_was_in_the_way_or_something_is_missing():
    busy = ({"side": "warm", "repeat": 1, "what": "lab", "cpu": 1.9, "wall": 2.0},)
    odd = replace(FULL, load=busy, interrupted=True, skipped={"systemdspawner": "systemd does not run here"})
    text = table.render(odd)
    assert "these numbers are too high" in text
    assert "Interrupted" in text
    assert "systemdspawner: not measured, systemd does not run here." in text


def test_json_has_every_sample_and_comes_back_as_the_same_report():
    data = json.loads(json.dumps(FULL.as_json(), allow_nan=False))
    assert len(data["samples"]) == len(FULL.samples)
    row = next(row for row in data["summaries"] if (row["metric"], row["side"]) == ("crowd-60", "local"))
    assert (row["median"], row["n"], row["lost"], row["times"]) == (None, 0, 5, None)
    again = from_json(data)
    assert json.loads(json.dumps(again.as_json())) == data
    assert svg.draw(again) == svg.draw(FULL)


def texts(picture: str) -> list[str]:
    root = ElementTree.fromstring(picture)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_names_machine_day_scale_and_number_of_measurements():
    said = " ".join(texts(svg.draw(FULL)))
    for words in ("2026-11-23", "A processor", "each of 5 measurements", "its own scale, from 0", "0.50 s", "(10x)"):
        assert words in said


def test_bars_are_as_long_as_their_medians():
    root = ElementTree.fromstring(svg.draw(FULL))
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    warm, local = (next(bar for bar in bars if bar.get("class") == name) for name in ("warm", "local"))
    assert float(local.get("width", 0)) / float(warm.get("width", 1)) == pytest.approx(10, rel=0.01)


def test_a_failure_is_drawn_without_a_bar_and_says_why():
    picture = svg.draw(report(*samples("local", None, None, metric="crowd-60")))
    root = ElementTree.fromstring(picture)
    assert [bar.get("class") for bar in root.iter("{http://www.w3.org/2000/svg}rect")] == ["paper", "lost"]
    assert "failed 2 of 2 times: 12 of 60 failed: no answer in 120 s" in texts(picture)


def test_the_picture_is_readable_on_dark_pages_too_and_needs_nothing_else():
    picture = svg.draw(FULL)
    assert "prefers-color-scheme: dark" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in picture


def test_one_measurement_each_is_said_to_be_that():
    single = report(*samples("warm", 0.5), repeat=1)
    assert "Each bar is one measurement" in svg.draw(single)
    assert "One measurement each" in table.render(single)


def test_lines_of_proc_files_are_read_in_bytes():
    assert top_processes.amounts("Rss:   12 kB\nPrivate_Dirty:\t3 kB\nVmFlags: rd wr\nName:\tpython\n") == {
        "Rss": 12 * 1024,
        "Private_Dirty": 3 * 1024,
    }


def test_accounts_are_made_for_the_largest_crowd_and_always_for_two():
    assert Wanted(crowds=(10, 60)).people == 60
    assert Wanted(crowds=(1,)).people == 2
    assert Wanted(cases=("crowd", "alive"), crowds=(10,), alive=400).people == 400
    assert Wanted(cases=("one",), crowds=(60,), alive=400).people == 2


def test_the_ports_of_a_bench_are_all_different():
    assert len(set(place.free_ports(5))) == 5


class Pretended(Generator):
    """A generator whose people are made up: so many have a Lab after 1, 2, 3... seconds, the others have none."""

    def __init__(self, there: int) -> None:
        self.there = there
        self.left: list[str] = []

    def arrive(self, site, people, within):
        said = {
            name: {"lab": float(number)} if number <= self.there else {"failed": f"no answer in {within:g} s"}
            for number, (name, _) in enumerate(people, 1)
        }
        return Answer(said, wall=1.0, cpu=0.1)

    def leave(self, people):
        self.left += people
        return Answer({name: {} for name in people}, wall=1.0, cpu=0.1)


def visit(generator: Generator) -> cases.Visit:
    people = [(place.name_of(number), "secret") for number in range(1, 11)]
    return cases.Visit("warm", 1, "http://127.0.0.1:1/", generator, people, lambda line: None)


def test_of_a_crowd_the_last_one_counts():
    generator = Pretended(there=10)
    (found,) = cases.at_once(visit(generator), 10, stay=False)
    assert (found.metric, found.value, found.failed, len(found.parts)) == ("crowd-10", 10.0, "", 10)
    assert len(generator.left) == 10


def test_a_crowd_of_whom_some_have_no_lab_has_failed_whatever_the_others_got():
    (found,) = cases.at_once(visit(Pretended(there=7)), 10, stay=True)
    assert (found.value, found.failed) == (None, "3 of 10 failed: no answer in 120 s")
    assert len(found.parts) == 7
