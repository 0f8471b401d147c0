"""Fifty servers start at once while a part of the site is killed, or the machine has no more of something: everybody
gets one in the end, and every process is a server that the hub knows. Other inits than in the tests beside this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from harness import wait_until

from support.client import Client, Refused
from support.looking import ask, in_memory
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG = '[envs.default]\npackages = ["ipykernel"]\n[servers]\nnamed = true\nmemory = "none"\n'
PEOPLE = ("ada", "ben", "cem", "dot", "eli")
EACH = 10
NURSERY = re.compile(r"manylab\.warm\.nursery|warm/nursery\.py")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[("bookworm", "sysv"), ("trixie", "systemd")], ids="-".join)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    suite, init = request.param
    with Site(suite, init, config=CONFIG, machine=in_memory(suite, init)) as one:
        one.install()
        for name in PEOPLE:
            one.add_user(name, PASSWORD)
        one.wait_for_log("the nursery server is ready", 60)
        yield one


@pytest.fixture(scope="module")
def people(site: Site) -> Iterator[list[Client]]:
    clients = [site.client(name, PASSWORD) for name in PEOPLE]
    for client in clients:
        client.sign_in()
    yield clients
    for client in clients:
        client.http.close()


def pids(site: Site, word: str | re.Pattern[str]) -> list[int]:
    """Of the site's own parts with this in their command line."""
    found = [(process.pid, " ".join(process.argv)) for process in site.machine.processes()]
    return [
        pid for pid, line in found if re.search(word, line) and "culler" not in line and "-m manylab.lab" not in line
    ]


def kill(site: Site, word: str | re.Pattern[str]) -> Callable[[], None]:
    """What ends them once, with no chance to tidy up."""
    return lambda: site.machine.run(["kill", "-9", *map(str, pids(site, word))], check=False) and None


def ready(client: Client, name: str) -> bool:
    """Whether this server is there; asked for again if need be, as a person would."""
    try:
        if not client.signed_in():
            client.sign_in()
        if client.api("GET", f"users/{client.name}").json().get("servers", {}).get(name, {}).get("ready"):
            return True
        client.api("POST", f"users/{client.name}/servers/{name}")
    except (OSError, ValueError, AssertionError, httpx.HTTPError, Refused):
        pass  # the hub is just being started
    return False


def running(site: Site) -> set[tuple[str, str]]:
    """Every server's process, by whose it is."""
    return {(one["user"], one["server"]) for one in ask(site, "status")["servers"]}


def processes(site: Site) -> int:
    return sum("-m manylab.lab" in " ".join(process.argv) for process in site.machine.processes())


def come(site: Site, people: list[Client], each: int, meanwhile: Callable[[], None]) -> None:
    """Everybody wants so many servers at once; when the first are there, something happens."""
    names = [f"s{number}" for number in range(each)]

    def one(client: Client) -> None:
        with ThreadPoolExecutor(each) as pool:
            for done in [pool.submit(wait_until, lambda name=name: ready(client, name), 240, name) for name in names]:
                done.result()

    with ThreadPoolExecutor(len(people)) as pool:
        waiting = [pool.submit(one, client) for client in people]
        wait_until(lambda: processes(site) > 2, 60, lambda: f"the first starts:\n{site.logs()}")
        meanwhile()
        for each_one in waiting:
            each_one.result()
    wanted = {(client.name, name) for client in people for name in names}
    wait_until(lambda: running(site) == wanted, 30, lambda: f"no more and no less than {len(wanted)} servers")
    assert processes(site) == len(wanted), "every process is a server that the hub knows"


def go(site: Site, people: list[Client]) -> None:
    """All stop their servers; nothing of them stays."""

    def stop(pair: tuple[str, str]) -> None:
        client = next(one for one in people if one.name == pair[0])
        client.api("DELETE", f"users/{client.name}/{f'servers/{pair[1]}' if pair[1] else 'server'}")

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(stop, running(site)))
    wait_until(lambda: processes(site) == 0, 60, lambda: f"the end of all:\n{site.logs()}")


@pytest.mark.parametrize(
    "part", [r"-m manylab\.hub ", r"-m manylab\.warden ", NURSERY], ids=["hub", "warden", "nursery"]
)
def test_a_part_is_killed_while_everybody_comes(site, people, part):
    come(site, people, EACH if part is not NURSERY else 4, kill(site, part))
    go(site, people)


def test_forks_are_refused_to_the_nursery_while_everybody_comes(site, people):
    """They start cold, and the log says why."""
    wait_until(lambda: pids(site, r"manylab\.warm\.nursery"), 60, "a nursery")
    site.wait_for_log("the nursery server is ready", 60)
    for pid in pids(site, r"manylab\.warm\.nursery"):
        site.machine.run(["prlimit", f"--pid={pid}", "--nproc=1:1"])
    come(site, people, 1, lambda: None)
    site.wait_for_log("starts cold", 10)
    go(site, people)
    kill(site, NURSERY)()


def test_the_disk_is_full_while_everybody_comes_and_whoever_is_there_goes_on(site, people):
    first, *others = people
    first.open_lab()
    first.run("kept = 6")
    site.machine.run("dd if=/dev/zero of=/srv/all-there-is bs=1M 2>/dev/null; df / | tail -1", check=False)
    try:
        assert first.run("kept * 7") == "42"
        said = [client.api("POST", f"users/{client.name}/server").text for client in others]
        print(said, site.logs(30))
        assert first.run("kept * 7") == "42"
    finally:
        site.machine.run("rm /srv/all-there-is")
    for client in others:
        wait_until(
            lambda client=client: ready(client, ""), 60, lambda: f"a server, now that there is room:\n{site.logs()}"
        )
    assert first.run("kept * 7") == "42"
    go(site, people)


def test_in_the_end_the_site_stops_and_leaves_nothing(site, people):
    come(site, people, 1, lambda: None)
    site.manylab("stop")
    site.wait_until_nothing_is_left()
