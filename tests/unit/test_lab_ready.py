"""How a server says that it listens, and what it leaves for later."""

import asyncio
import os
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterhub.singleuser.extension")
from manylab.lab import activity, server, singleuser


@pytest.mark.parametrize("text", ["", "no", "-1", "100000", "9" * 30])
def test_without_a_descriptor_nobody_is_told(text):
    assert server.ready_descriptor(text) is None


def test_whoever_waits_hears_once_and_then_the_end():
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    assert server.ready_descriptor(str(writing)) == writing
    assert not os.get_inheritable(writing)
    server.tell_ready(writing)
    assert os.read(reading, 100) == b"ready\n"
    assert os.read(reading, 100) == b""
    os.close(reading)


def test_nobody_waiting_is_no_trouble():
    reading, writing = os.pipe()
    os.close(reading)
    server.tell_ready(writing)


def test_a_start_asks_the_hub_nothing(monkeypatch):
    async def asked(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("jupyterhub.singleuser.extension.fetch", asked)
    app = singleuser.SiteServer()
    monkeypatch.setattr(singleuser.JupyterHubHTTPClient, "_instance", None)
    asyncio.run(app.check_hub_version())


def server_settings():
    now = datetime.now(timezone.utc)
    settings = {"started": now, "kernel_manager": SimpleNamespace(last_kernel_activity=now), "last_activity_times": {}}
    return {**settings, "manylab_activity": activity.Activity(settings, 4)}


def test_the_first_report_comes_before_two_intervals_are_over(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    async def report(self):
        waited.append("report")

    monkeypatch.setattr(singleuser.asyncio, "sleep", sleep)
    monkeypatch.setattr(singleuser.JupyterHubSingleUser, "keep_activity_updated", report)
    app = singleuser.SiteServer(hub_activity_interval=4)
    app.serverapp = SimpleNamespace(web_app=SimpleNamespace(settings=server_settings()))
    asyncio.run(app.keep_activity_updated())
    assert waited[1:] == ["report"]
    assert 1 <= waited[0] <= 3


def test_whether_other_extensions_load_is_read_when_a_server_starts(monkeypatch):
    assert singleuser.load_other_extensions()
    monkeypatch.setenv("JUPYTERHUB_SINGLEUSER_LOAD_OTHER_EXTENSIONS", "0")
    assert not singleuser.load_other_extensions()
