"""What a server takes over from its PAM session, as far as no root and no PAM is needed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from manylab.warden import sessions, spawn
from manylab.warden.accounts import Person
from manylab.warden.cgroups import Limits
from manylab.warden.messages import Refusal, Start
from manylab.warden.sessions import Traits
from manylab.warden.settings import Settings
from manylab.warden.talk import Talk

ALICE = Person("alice", 1001, 1001, (1001, 1100), "/home/alice", "/bin/bash")
SITE = Settings(
    1, None, "site", 1000, "site", None, *map(Path, ("/s", "/r", "/v", "/p")), ("/bin/true",), ("/opt/env/bin",),
    {"TZ": "UTC"},
)  # fmt: skip


def planned(traits, env=None):
    start = Start("alice", "", env or {})
    return spawn.plan(start, ALICE, SITE, Path("/run/s/alice"), None, Limits(), None, 1024, traits)


def test_the_sessions_variables_win_over_the_hubs_and_lose_against_the_sites():
    traits = Traits(environment={"TZ": "Mars", "LC_ALL": "zh_CN.UTF-8", "OMP_NUM_THREADS": "2", "HOME": "/evil"})
    env = planned(env={"LANG": "de_DE.UTF-8", "JUPYTERHUB_USER": "alice"}, traits=traits).order["env"]
    assert (env["TZ"], env["OMP_NUM_THREADS"], env["HOME"]) == ("UTC", "2", ALICE.home)
    # One language in all its parts: German of the hub's own service is not mixed with the account's Chinese.
    assert (env["LANG"], env["LC_ALL"], env["JUPYTERHUB_USER"]) == ("C.UTF-8", "zh_CN.UTF-8", "alice")


@pytest.mark.parametrize(
    "name", ["JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "JUPYTER_CONFIG_DIR", "MANYLAB_X", "1A", "A-B"]
)
def test_a_session_cannot_set_what_hub_and_server_know_each_other_by(name):
    assert sessions.usable({name: "x", "GREETING": "hello"}) == {"GREETING": "hello"}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("", "/opt/env/bin:/usr/local/bin:/usr/bin"),
        ("/usr/bin:/opt/cuda/bin", "/opt/env/bin:/usr/bin:/opt/cuda/bin:/usr/local/bin"),
        ("::.:relative:/usr/local/bin", "/opt/env/bin:/usr/local/bin:/usr/bin"),
    ],
)
def test_path_begins_with_the_environment_and_goes_on_as_the_session_says(said, path):
    assert spawn.path(["/opt/env/bin", "/usr/local/bin", "/usr/bin"], said) == path


def test_the_order_has_what_the_server_takes_over_from_its_session():
    traits = Traits(umask=0o002, limits={"RLIMIT_CPU": (3600, -1)}, nice=5, no_new_privileges=True, groups=(44,))
    order = planned(traits=traits).order
    assert (order["umask"], order["limits"], order["nice"]) == (0o002, {"RLIMIT_CPU": [3600, -1]}, 5)
    assert order["no_new_privileges"] and order["groups"] == sorted({*ALICE.groups, 44})


def test_a_home_that_is_entered_and_never_reached_is_named(monkeypatch):
    monkeypatch.setattr(spawn, "_BECAME", 0.05)

    async def give():
        ours, theirs = socket.socketpair()
        theirs.sendall(b'{"entering": true}\n')
        with theirs, contextlib.closing(Talk(ours)) as talk:
            await spawn.give(spawn.Seat(1, talk), {"home": "/home/alice"}, None)

    with pytest.raises(Refusal, match="the home folder /home/alice does not answer") as refused:
        asyncio.run(give())
    assert refused.value.reason == "home-silent"


def test_a_limit_is_set_as_far_as_it_may_be():
    code = """
import resource
from manylab.warm import process
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
process.limit("RLIMIT_NOFILE", 300, 400)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, 400)
import os
from manylab.warm import capabilities
capabilities.put((), ())
process.limit("RLIMIT_NOFILE", 300, 1000)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, 400)
process.limit("RLIMIT_NOFILE", -1, -1)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, 400)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
