"""What counts as use of a server, and what an open tab does by itself."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from manylab.lab import activity

NOW = datetime(2020, 12, 1, 12, tzinfo=timezone.utc)


def settings(**minutes_ago):
    """The web application's; minutes_ago: of the named times."""

    def time(name):
        return NOW - timedelta(minutes=minutes_ago[name])

    made = {"started": time("started"), "last_activity_times": {}, "base_url": "/user/alice/"}
    made["kernel_manager"] = SimpleNamespace(
        last_kernel_activity=time("kernel") if "kernel" in minutes_ago else made["started"],
        list_kernel_ids=list,
    )
    for name in ("api_last_activity", "terminal_last_activity", "other_last_activity"):
        if name in minutes_ago:
            made[name] = time(name)
    for name in ("jupyter-server-proxy", "manylab-input", "manylab-busy", "other"):
        if name in minutes_ago:
            made["last_activity_times"][name] = time(name)
    return made


@pytest.mark.parametrize(
    ("method", "path", "mode", "counts"),
    [
        ("GET", "api/kernels", "cors", False),
        ("GET", "api/sessions", "same-origin", False),
        ("GET", "api/contents?content=1&hash=0", "cors", False),
        ("GET", "api/metrics/v1", "cors", False),
        ("HEAD", "lab", "navigate", True),
        ("GET", "lab/tree/x.ipynb", "navigate", True),
        ("GET", "api/kernels/1/channels", "websocket", False),
        ("POST", "api/sessions", "cors", True),
        ("PUT", "api/contents/x.ipynb", "cors", True),
        ("PATCH", "api/contents/x.ipynb", "", True),
        ("DELETE", "api/terminals/1", "", True),
        ("POST", "api/kernels/1/interrupt", "cors", True),
        ("POST", "proxy/8501/form", "cors", True),
        ("GET", "proxy/6006/data/runs", "cors", False),
        ("POST", "git/repo/status", "cors", False),
        ("PUT", "lab/api/workspaces/default", "cors", False),
        ("OPTIONS", "api/contents", "cors", False),
    ],
)
def test_what_changes_something_and_pages_that_are_opened_are_use_and_questions_are_not(method, path, mode, counts):
    assert activity.is_input(method, path, mode) == counts


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ({}, 100),
        ({"kernel": 3}, 3),
        ({"api_last_activity": 0, "terminal_last_activity": 0, "jupyter-server-proxy": 0}, 100),
        ({"api_last_activity": 0, "manylab-input": 7}, 7),
        ({"manylab-busy": 5, "manylab-input": 7}, 5),
        ({"other_last_activity": 4, "other": 9}, 4),
    ],
)
def test_what_a_tab_does_by_being_open_is_no_use(times, last):
    assert activity.last_use(settings(started=100, **times)) == NOW - timedelta(minutes=last)


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ('["stdin", "l"]', True),
        ('["set_size", 24, 80, 1, 1]', False),
        ("[]", False),
        ("{}", False),
        ("not json", False),
    ],
)
def test_keys_in_a_terminal_are_use_and_its_size_is_not(message, counts):
    assert activity.typed(message) == counts


def test_a_change_of_a_shared_document_is_use_and_where_somebody_s_cursor_is_not():
    assert activity.changed(b"\x00\x02\x05hello")
    assert not activity.changed(b"\x00\x00\x01\x00")
    assert not activity.changed(b"\x01\x05hello")


def test_a_stranger_s_request_is_nobody_s_use():
    found = settings(started=100)
    found["log_function"] = lambda handler: None
    found["manylab_activity"] = activity.Activity(found, 300)
    activity.note_requests(found)
    request = SimpleNamespace(method="POST", path="/user/alice/api/sessions", headers={})
    found["log_function"](SimpleNamespace(request=request, _jupyter_current_user=None))
    assert "manylab-input" not in found["last_activity_times"]
    found["log_function"](SimpleNamespace(request=request, _jupyter_current_user="alice"))
    assert "manylab-input" in found["last_activity_times"]


def test_the_hub_hears_at_once_of_somebody_who_comes_back():
    reports = []

    async def report():
        reports.append(1)

    async def work():
        one = activity.Activity(settings(started=100), 300)
        one.on_return(report)
        for _ in range(3):
            one.used()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(work())
    assert reports == [1]


class Kernels:
    def __init__(self, *states):
        self.states = dict(enumerate(states))
        self.last_kernel_activity = NOW

    def list_kernel_ids(self):
        return list(self.states)

    def get_kernel(self, kernel_id):
        return type("Kernel", (), {"execution_state": self.states[kernel_id]})()


@pytest.mark.parametrize(
    ("states", "busy"),
    [((), False), (("idle",), False), (("idle", "busy"), True), (("starting",), False), (("dead", None), False)],
)
def test_a_computing_kernel_counts_as_use(states, busy):
    web = {"started": NOW, "kernel_manager": Kernels(*states), "last_activity_times": {}}
    assert activity.Activity(web, 300).look() is busy
    assert (activity.last_use(web) > NOW) is busy


@pytest.mark.parametrize(
    ("foreground", "shell", "busy"), [(10, 10, False), (11, 10, True), (-1, 10, False), (0, 10, False)]
)
def test_a_program_in_a_terminal_counts_as_use(foreground, shell, busy):
    assert activity.busy_terminal(foreground, shell) is busy
