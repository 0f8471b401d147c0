"""Servers are started and stopped in a row, and nothing that lives long keeps anything of them: no memory, open files,
sockets, control groups, mounts, zombies.

A few dozen at a time; `MANYLAB_STARTS=1000` makes it a thousand, `MANYLAB_EVERYWHERE=1` every Debian and kind of PID 1.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import wait_until

from support.build import SMALL
from support.client import Client
from support.looking import ask, everywhere, in_memory
from support.site import Site

pytestmark = pytest.mark.soak

PASSWORD = "wonderland 1865"
PEOPLE = ("alice", "bob", "carol", "dave")
STARTS = int(os.environ.get("MANYLAB_STARTS", "60"))
WARM_UP = 20  # until every cache and pool has what it is going to have
LONG_LIVED = re.compile(r"manylab\.hub$|manylab\.warden$|configurable-http-proxy$|manylab\.warm\.nursery$|nursery\.py$")
# Bytes of its own that a process may have more of. Node takes what it finds before it collects (70 MB at the start, 225
# after 6,000 routes and requests, and no more after 16,000); the hub collects seldom (app.py): 15 kB more a start.
MEMORY = {"configurable-http-proxy": 160 << 20, "manylab.hub": (12 << 20) + STARTS * (24 << 10)}
USUAL = 12 << 20
FILES = 8  # connections that are kept open for the next question

# What there is of everything, for each long-lived process and the machine.
COUNT = """
import json, os, re, sys
from pathlib import Path
found = {}
for pid in map(int, sys.argv[1:]):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(size) for size in re.findall(r"^Private_\\w+: +(\\d+) kB", rollup, re.M))
    mounts = len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    threads = len(os.listdir(f"/proc/{pid}/task"))
    found[pid] = [private << 10, len(os.listdir(f"/proc/{pid}/fd")), mounts, threads]
groups = sum(bool(re.search("manylab-server|/manylab/", str(path))) for path in Path("/sys/fs/cgroup").rglob("*/"))
left = sum(len(names) + len(more) for _, names, more in os.walk("/run/manylab"))
print(json.dumps({"parts": found, "groups": groups, "run": left}))
"""


@pytest.fixture(scope="module", params=everywhere(("bookworm", "none")), ids="-".join)
def site(request) -> Iterator[Site]:
    suite, init = request.param
    with Site(suite, init, config=SMALL, machine=in_memory(suite, init, small=True)) as one:
        for name in PEOPLE:
            one.add_user(name, PASSWORD)
        one.install()
        yield one


def long_lived(site: Site) -> dict[int, str]:
    """Every process of the site that outlives servers: {pid: what it is}."""
    found = {}
    for process in site.machine.processes():
        name = next((match[0] for word in process.argv[:12] if (match := LONG_LIVED.search(word))), "")
        if name and process.uid < 1000:
            found[process.pid] = name
    return found


def start_and_stop(client: Client, times: int) -> None:
    for _ in range(times):
        client.start_server()
        client.stop_server()


def in_turn(people: list[Client], times: int) -> None:
    """So many starts and stops, everybody theirs."""
    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(lambda client: start_and_stop(client, times // len(people)), people))


def counted(site: Site) -> dict[str, dict[str, list[int]]]:
    """{"parts": {part: [private bytes, files, mounts, threads]}, "machine": {...: [number]}}, of this moment."""
    parts = long_lived(site)
    said = json.loads(site.machine.run(["/usr/bin/python3", "-c", COUNT, *map(str, parts)]).stdout)
    named = {f"{parts[int(pid)]} {pid}": numbers for pid, numbers in said["parts"].items()}
    zombies = sum(process.argv[:1] == ("<zombie>",) for process in site.machine.processes())
    machine = {"groups": [said["groups"]], "files under /run": [said["run"]], "zombies": [zombies]}
    return {"parts": named, "machine": machine}


def grown(before: dict[str, dict[str, list[int]]], after: dict[str, dict[str, list[int]]]) -> list[str]:
    """What there is more of than may be, in words."""
    found = [
        f"{what}: {before['machine'][what]} {now}"
        for what, now in after["machine"].items()
        if now > before["machine"][what]
    ]
    if before["parts"].keys() != after["parts"].keys():
        return [*found, f"other processes: {sorted(before['parts'])} {sorted(after['parts'])}"]
    for part, now in after["parts"].items():
        more = [new - old for new, old in zip(now, before["parts"][part], strict=True)]
        memory = MEMORY.get(part.split()[0], USUAL)
        if any(one > most for one, most in zip(more, (memory, FILES, 0, FILES), strict=True)):
            found.append(f"{part}: {more} more of memory, files, mounts, threads")
    return found


@pytest.mark.timeout(900 + 3 * STARTS)
def test_nothing_is_kept_of_servers_that_were_started_and_stopped(site, capsys):
    clients = [site.client(name, PASSWORD) for name in PEOPLE]
    for client in clients:
        client.sign_in()
    wait_until(lambda: len(long_lived(site)) == 5, 60, lambda: f"hub, proxy, warden, two nurseries: {long_lived(site)}")
    in_turn(clients, WARM_UP)
    before = counted(site)
    began = time.monotonic()
    in_turn(clients, STARTS)
    took = time.monotonic() - began
    assert ask(site, "status")["servers"] == []
    wait_until(lambda: not grown(before, counted(site)), 60, lambda: "\n".join(grown(before, counted(site))))
    after = counted(site)
    with capsys.disabled():
        print(
            f"\n{site.suite} {site.init}: {STARTS} starts and stops in {took:.0f} s; more kB, files, mounts, threads:"
        )
        for part, now in after["parts"].items():
            more = [new - old for new, old in zip(now, before["parts"][part], strict=True)]
            print(f"  {part}: {more[0] >> 10} {more[1:]}")
        print(f"  {before['machine']} {after['machine']}")
    for client in clients:
        client.http.close()
