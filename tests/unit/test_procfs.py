"""Looks at processes come to an end, also where one of them waits for ever."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from manylab.base import procfs


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def test_a_look_that_does_not_end_is_left_behind_and_tried_again_once_it_has_ended(child):
    free = threading.Event()

    def look(pid: int) -> list[int]:
        if pid == child:
            free.wait(30)
        return [pid]

    begun = time.monotonic()
    found = procfs.each([1, child], look, 0.1)
    assert found == {1: [1]}
    assert procfs.hangs(child)
    assert procfs.each([child], look, 20) == {}, "it is not waited for again"
    assert time.monotonic() - begun < 10
    free.set()
    while procfs.hangs(child):
        assert time.monotonic() - begun < 20
        time.sleep(0.01)
    assert procfs.each([child, 1], look) == {child: [child], 1: [1]}


def test_a_look_may_take_long_as_long_as_it_goes_on(child):
    def look(pid: int):
        for number in range(10):
            time.sleep(0.1)
            yield number if number > 7 else None

    assert procfs.each([child], look) == {child: [8, 9]}


def test_what_is_gone_is_empty_and_no_failure_of_a_look_is_lost():
    assert procfs.read(2**22 + 1, "stat") is None
    assert procfs.status(2**22 + 1) == {}
    assert procfs.real_uid(2**22 + 1) is None
    assert procfs.uids(os.getpid()) == [os.getuid()] * 4
    with pytest.raises(ZeroDivisionError):
        procfs.each([1], lambda pid: [pid // 0])
    assert procfs.each([1], lambda pid: [pid]) == {1: [1]}


def test_the_child_of_a_fork_can_look_too():
    assert procfs.read(os.getpid(), "stat")
    if (pid := os.fork()) == 0:
        os._exit(0 if procfs.read(os.getpid(), "stat") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
