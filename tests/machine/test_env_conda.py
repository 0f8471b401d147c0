"""Environments of conda packages on a real machine, from a channel that the tests make and serve on loopback.

The channel's Python is a stand-in that runs the machine's own, because conda's cannot be had without its channels;
ipykernel comes by the pip part.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.channel import Channel, Fault, Package, Server, module, stand_in_python
from support.client import Client
from support.looking import ask, in_memory, leftovers, planned, refusal
from support.site import Site

GEO = "/opt/manylab/envs/geo"
CONFIG_FILE = "/etc/manylab/manylab.toml"
SITE_PACKAGES = "lib/python3.11/site-packages"
MOMENTS = [random.Random(seed).uniform(0.2, 6.0) for seed in range(3)]


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Channel:
    made = Channel(tmp_path_factory.mktemp("channel"))
    made.add(stand_in_python("3.11.99", real=Path("/usr/bin/python3.11")))
    made.add(module("shapes", "1.0"))
    made.add(module("maps", "1.0", depends=("python", "shapes >=1")))
    made.add(module("maps", "2.0", depends=("python", "shapes >=1")))
    made.add(module("broken", code="import its_library\n"))
    made.add(Package("greedy", files={"manylab-environment.json": b"{}"}))
    made.add(Package("scripted", files={"bin/.scripted-post-link.sh": b"#!/bin/sh\nid > /var/tmp/post-link\n"}))
    made.add(module("impossible", depends=("python", "shapes >=99")))
    return made


@pytest.fixture(scope="module")
def server(channel) -> Iterator[Server]:
    with Server(channel).running() as running:
        yield running


@pytest.fixture(scope="module")
def site(server) -> Iterator[Site]:
    config = f"""
[mirrors]
conda = "{server.url.rsplit("/", 1)[0]}/nowhere"
channels = {{ geography = "{server.url}" }}
[envs.default]
packages = ["ipykernel"]
[envs.geo]
backend = "conda"
channels = ["geography"]
packages = ["maps=1.0"]
pip = ["ipykernel"]
"""
    with Site("bookworm", config=config, machine=in_memory("bookworm")) as one, one.up():
        one.add_user("alice", "her password")
        yield one


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    with site.client("alice", "her password") as person:
        person.sign_in()
        person.open_lab()
        yield person


def state(site: Site) -> tuple[str, str]:
    return site.machine.run(["readlink", f"{GEO}/current"]).stdout, site.machine.read(CONFIG_FILE)


def test_a_kernel_runs_what_the_channel_has(site, alice):
    alice.start_kernel("manylab-geo")
    assert alice.run("import maps, sys; print(maps.version, sys.prefix.rsplit('/', 1)[0])") == f"1.0 {GEO}\n"
    assert site.machine.run(["stat", "-c", "%U %a", f"{GEO}/current/{SITE_PACKAGES}/maps.py"]).stdout == "root 644\n"
    compiled = site.machine.run(f"ls {GEO}/current/{SITE_PACKAGES}/__pycache__").stdout
    assert "maps.cpython-311.pyc" in compiled
    shown = ask(site, "env", "show", "geo")
    assert shown["packages"]["maps"] == "1.0" and "ipykernel" in shown["packages"]
    assert planned(site) == {}


def test_a_newer_package_and_back(site, alice):
    before = state(site)
    moved = ask(site, "env", "add", "geo", "maps=2.0")["packages"]
    assert [(one["name"], one["kind"], one["after"]) for one in moved] == [("maps", "up", "2.0")]
    # The kernel that runs keeps what it started with.
    assert alice.run("import importlib; importlib.reload(maps); print(maps.version)") == "1.0\n"
    alice.start_kernel("manylab-geo")
    assert alice.run("import maps; print(maps.version)") == "2.0\n"
    ask(site, "env", "rollback", "geo")
    assert state(site)[0] == before[0]
    assert planned(site) == {}


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("broken", "its_library"),
        ("greedy", "manylab-environment.json"),
        ("impossible", "shapes"),
        ("not-there-at-all", "not-there-at-all"),
    ],
)
def test_what_cannot_be_had_or_does_not_work_changes_nothing(site, package, said):
    before = state(site)
    error = refusal(site, "env", "add", "geo", package)
    assert error["code"] == "E-ENV" and said in error["message"], error
    assert state(site) == before
    assert leftovers(site.machine) == []


def test_a_package_that_is_not_what_the_channel_promised_is_refused(site, server, channel):
    path = channel.add(module("forged"))
    server.faults[path] = Fault(damage=True)
    before = state(site)
    error = refusal(site, "env", "add", "geo", "forged")
    assert "forged" in error["message"], error
    assert state(site) == before
    assert site.machine.run("find /opt/manylab/cache/conda -name 'forged*'").stdout == ""


def test_no_script_of_a_package_runs(site):
    ask(site, "env", "add", "geo", "scripted")
    assert not site.machine.exists("/var/tmp/post-link")
    ask(site, "env", "remove", "geo", "scripted")


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_build_that_is_killed_leaves_the_one_in_use(site, seconds):
    before = state(site)
    wish = "maps=2.0" if "maps=1.0" in before[1] else "maps=1.0"
    with site.machine.popen(["/srv/manylab/manylab", "env", "add", "geo", wish], cwd="/") as running:
        time.sleep(seconds)  # the moment is what is tested
        running.signal(9)
        running.wait(20)
    assert site.machine.run(f"{GEO}/current/bin/python -c 'import maps; print(6 * 7)'").stdout == "42\n"
    site.manylab("apply")
    assert leftovers(site.machine) == []
    assert planned(site) == {}


def test_an_environment_yml_becomes_an_environment_and_one_again(site, server):
    text = f"""
name: course
channels: [{server.url}, defaults]
dependencies:
  - python=3.11
  - maps>=1
  - pip:
    - ipykernel
    - iniconfig
"""
    site.machine.write("/root/environment.yml", text)
    found = ask(site, "env", "import", "/root/environment.yml")
    assert any("defaults" in note for note in found["notes"])
    assert "maps>=1" in site.machine.read(CONFIG_FILE)
    assert {"maps", "iniconfig", "ipykernel"} <= ask(site, "env", "show", "course")["packages"].keys()
    again = ask(site, "env", "export", "course")["text"]
    assert "maps>=1" in again and "iniconfig" in again
    exact = ask(site, "env", "export", "course", "--exact")["text"]
    assert "maps=2.0=0" in exact
    assert ask(site, "env", "export", "course", "--lock")["text"].startswith("{")


def test_from_conda_to_uv_and_back(site):
    ask(site, "config", "set", "envs.geo.packages", "[]")
    ask(site, "config", "set", "envs.geo.backend", "uv")
    site.manylab("apply")
    assert "ipykernel" in ask(site, "env", "show", "geo")["packages"]
    found = ask(site, "env", "rollback", "geo")
    assert any(one["name"] == "maps" for one in found["packages"])
    assert planned(site) == {}
