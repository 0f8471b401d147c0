"""Every part of a running site is killed again and again: it serves again, nobody's kernel is lost, nothing is there
twice, and after a stop nothing is left. Without systemd and with it.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.client import Client
from support.looking import ask, everywhere, in_memory
from support.site import Site

pytestmark = pytest.mark.soak

PASSWORD = "wonderland 1865"
TIMES = 20
PARTS = ("hub", "proxy", "warden")
NURSERY = re.compile(r"manylab\.warm\.nursery|warm/nursery\.py")
NURSERIES = 2  # for servers, and for the kernels of the one environment
SUPERVISOR = "/run/manylab/supervisor/supervisor.json"


@pytest.fixture(scope="module", params=everywhere(("bookworm", "none"), ("bookworm", "systemd")), ids="-".join)
def site(request) -> Iterator[Site]:
    """Installed as a service: by /etc/init.d where there is no init system at all, and by systemd."""
    suite, init = request.param
    with Site(suite, init, machine=in_memory(suite, init)) as one:
        one.install()
        for name in ("alice", "bob"):
            one.add_user(name, PASSWORD)
        yield one


@pytest.fixture(scope="module")
def people(site) -> Iterator[list[Client]]:
    """Two people with kernels that remember something."""
    with site.client("alice", PASSWORD) as alice, site.client("bob", PASSWORD) as bob:
        for client in (alice, bob):
            client.sign_in()
            client.open_lab()
            client.run(f"kept = {client.name!r}")
        yield [alice, bob]


def pids(site: Site) -> dict[str, int]:
    """Of every part that runs now; parts that do not are missing."""
    if site.machine.init == "systemd":
        units = [f"manylab-{part}.service" for part in PARTS]
        said = site.machine.run(["systemctl", "show", "-p", "MainPID", "--value", *units]).stdout.split()
        return {part: int(pid) for part, pid in zip(PARTS, said, strict=True) if pid != "0"}
    record = json.loads(site.machine.read(SUPERVISOR))
    found = {service["name"]: service["pid"] for service in record["services"]}
    found |= {name: record[name]["pid"] for name in ("guardian", "inner") if record[name]}
    alive = {process.pid for process in site.machine.processes()}
    return {name: pid for name, pid in found.items() if pid in alive}


def kill(site: Site, part: str) -> None:
    """SIGKILL, and wait until another process is that part."""
    before = wait_until(lambda: pids(site).get(part), 60, lambda: f"a {part}:\n{site.logs()}")
    site.machine.run(f"kill -KILL {before}")
    wait_until(lambda: pids(site).get(part, before) != before, 60, lambda: f"a new {part}:\n{site.logs()}")


def everything_is_well(site: Site, people: list[Client]) -> None:
    """The site answers, and people's kernels are the same ones as before."""
    site.wait_until_it_answers(timeout=60)
    wait_until(lambda: all_run(site), 60, lambda: str(ask(site, "status")))
    for client in people:
        remembered = wait_until(lambda client=client: asked(client), 60, f"{client.name}'s kernel")
        assert remembered == f"'{client.name}'"


def all_run(site: Site) -> bool:
    """Whether `status` says so of every part."""
    said = ask(site, "status")
    return said["code"] == 0 and all(part["running"] for part in said["parts"] if part["name"] in PARTS)


def asked(client: Client) -> str:
    """What the kernel remembers; "" while the proxy does not know the way yet."""
    try:
        return client.run("kept", timeout=10)
    except Exception:
        return ""


def programs(site: Site) -> Counter[str]:
    """How many processes there are of each program of the site, without people's."""
    found: Counter[str] = Counter()
    for process in site.machine.processes():
        line = " ".join(process.argv)
        for name in (
            "manylab.hub ",
            "manylab.warden ",
            "configurable-http-proxy",
            "manylab.supervise",
            "-m manylab.lab",
        ):
            found[name.strip()] += name in line + " "
    return found


def idle_nurseries(site: Site) -> list[str]:
    """Command lines of nurseries without a child. One whose warden was killed goes on while people's servers and
    kernels, which are its children, do.
    """
    running = site.machine.processes()
    parents = {process.parent for process in running}
    lines = [(process.pid, " ".join(process.argv)) for process in running]
    return [line for pid, line in lines if pid not in parents and NURSERY.search(line)]


def test_hub_proxy_and_warden_are_killed_twenty_times_each_and_it_serves_again(site, people, capsys):
    before = programs(site)
    slowest = 0.0
    for number in range(TIMES):
        began = time.monotonic()
        for part in random.sample(PARTS, len(PARTS)):
            kill(site, part)
        if number % 5 == 4:
            everything_is_well(site, people)
        slowest = max(slowest, time.monotonic() - began)
    assert programs(site) == before, "no second copies"
    wait_until(lambda: len(idle_nurseries(site)) <= NURSERIES, 60, lambda: "\n".join(idle_nurseries(site)))
    assert {server["user"] for server in ask(site, "status")["servers"]} == {"alice", "bob"}
    with capsys.disabled():
        print(f"\n{site.machine.init}: the slowest round of three kills took {slowest:.1f} s")


def test_guardian_and_inner_supervisor_are_killed_twenty_times_each(site, people):
    if site.machine.init == "systemd":
        assert "manylab.supervise" not in {name for name, count in programs(site).items() if count}
        return
    before = programs(site)
    parts = {part: pids(site)[part] for part in PARTS}
    for _ in range(TIMES):
        kill(site, "guardian")
        kill(site, "inner")
    everything_is_well(site, people)
    assert programs(site) == before, "no second copies"
    assert {part: pids(site)[part] for part in PARTS} == parts, "what it looks after went on"


def test_somebody_new_comes_in_and_starts_a_server_after_all_that(site, people):
    site.add_user("carol", PASSWORD)
    with site.client("carol", PASSWORD) as carol:
        carol.sign_in()
        carol.open_lab()
        assert carol.run("1 + 1") == "2"


def test_after_a_stop_nothing_is_left(site, people):
    site.manylab("stop")
    site.wait_until_nothing_is_left()
    assert not site.answers()
    assert site.manylab("status", check=False).returncode == 3
