"""Environments that are built at the same time: each stage for one of them, and a failure ends them all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from manylab.base.errors import EnvironmentFailed
from manylab.model.resources import Environment
from manylab.system.environments.together import Queue, Stages, build_all
from manylab.system.run import run


def named(*names: str) -> list[Environment]:
    return [Environment(name, Path("/nowhere", name), "abc", "/usr/bin/python3", "3.11", "") for name in names]


def test_one_is_tried_while_another_is_compiled():
    tried = threading.Event()

    def build(want: Environment, stages: Stages) -> None:
        if want.name == "compiled":
            with stages.one(stages.compiling):
                assert tried.wait(60)
        else:
            with stages.one(stages.trying):
                tried.set()

    build_all(named("compiled", "tried"), build)


def test_no_two_are_downloaded_at_the_same_time():
    inside: list[str] = []
    done: list[str] = []

    def build(want: Environment, stages: Stages) -> None:
        with stages.one(stages.fetching):
            assert inside == []
            inside.append(want.name)
            time.sleep(0.02)
            assert inside.pop() == want.name
        done.append(want.name)

    build_all(named("a", "b", "c", "d"), build)
    assert sorted(done) == ["a", "b", "c", "d"]


def test_who_comes_first_has_the_first_turn():
    queue, order = Queue(), list[int]()
    waiting: list[threading.Thread] = []

    def one(number: int) -> None:
        with queue.turn():
            order.append(number)

    with queue.turn():
        for number in range(5):
            waiting.append(threading.Thread(target=one, args=(number,)))
            waiting[-1].start()
            # The one before is in the queue, and the next one comes after it.
            while len(queue._waiting) < number + 2:
                time.sleep(0.001)
        assert order == []
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_failure_ends_the_programs_of_the_others_and_is_what_is_raised():
    running = threading.Event()
    ended: list[float] = []

    def build(want: Environment, stages: Stages) -> None:
        if want.name == "broken":
            assert running.wait(60)
            raise EnvironmentFailed("no such package", hint="")
        began = time.monotonic()
        running.set()
        try:
            run(["sleep", "100"], timeout=100)
        finally:
            ended.append(time.monotonic() - began)

    with pytest.raises(EnvironmentFailed, match="no such package"):
        build_all(named("slow", "broken"), build)
    assert ended and ended[0] < 60


def test_after_a_failure_no_other_goes_on_to_its_next_stage():
    failed = threading.Event()
    went_on: list[str] = []

    def build(want: Environment, stages: Stages) -> None:
        if want.name == "broken":
            with stages.one(stages.fetching):
                failed.set()
                raise EnvironmentFailed("no such package", hint="")
        failed.wait(60)
        stages.ended.wait(60)
        with stages.one(stages.trying):
            went_on.append(want.name)

    with pytest.raises(EnvironmentFailed, match="no such package"):
        build_all(named("broken", "other"), build)
    assert went_on == []


def test_what_is_run_by_anybody_else_is_not_ended():
    def build(want: Environment, stages: Stages) -> None:
        raise EnvironmentFailed("no such package", hint="")

    with pytest.raises(EnvironmentFailed):
        build_all(named("a", "b"), build)
    assert run(["sh", "-c", "sleep 0.5; echo done"]).out == "done\n"
