"""Many starts under way, and the nursery, the hub or the warden is killed: everybody has every server they asked for,
there is no other, and after a stop nothing is left. Also: a full disk, and no more processes.

Twenty starts on the two machines below; with `MANYLAB_EVERYWHERE=1` fifty, on both Debians with each kind of PID 1.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Process, wait_until

from support.build import SMALL
from support.client import Client
from support.looking import EVERYWHERE, ask, everywhere, in_memory
from support.site import Site

pytestmark = pytest.mark.soak

PASSWORD = "wonderland 1865"
PEOPLE = ("alice", "bob", "carol", "dave", "erin")
EACH = 10 if EVERYWHERE else 4
NAMES = tuple(f"s{number:02}" for number in range(EACH))
ALL = {(person, name) for person in PEOPLE for name in NAMES}
CONFIG = f"""{SMALL}
[servers]
named = true
named_limit = {EACH}
memory = "none"
"""
PARTS = {"hub": "manylab.hub", "warden": "manylab.warden"}


@pytest.fixture(scope="module", params=everywhere(("bookworm", "sysv"), ("trixie", "systemd")), ids="-".join)
def site(request) -> Iterator[Site]:
    """Installed as a service, as people would have it."""
    suite, init = request.param
    with Site(suite, init, config=CONFIG, machine=in_memory(suite, init)) as one:
        for name in PEOPLE:
            one.add_user(name, PASSWORD)
        one.install()
        yield one


@pytest.fixture(scope="module")
def people(site) -> Iterator[list[Client]]:
    """All of them, signed in."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client(name, PASSWORD)) for name in PEOPLE]
        for client in clients:
            client.sign_in()
        yield clients


@pytest.fixture(autouse=True)
def nothing_stays(site: Site) -> Iterator[None]:
    """A test that fails leaves no servers to the next one."""
    yield

    def none() -> bool:
        if left := [str(one.pid) for one in servers(site)]:
            site.machine.run(f"kill -KILL {' '.join(left)}", check=False)
        return not left and not ask(site, "status")["servers"]

    wait_until(none, 60, site.logs, interval=0.5)


class Crowd:
    """Everybody asks for every server at once. again: what is missing is asked for again, as by reloading a page."""

    def __init__(self, people: list[Client], *, again: bool) -> None:
        self.people = people
        self.again = again
        self.said: list[tuple[str, str, str]] = []  # what was not "it starts" or "it runs"
        self.ready: set[tuple[str, str]] = set()
        self._pool = ThreadPoolExecutor(len(people) * (EACH + 1))
        self._asking: set[tuple[str, str]] = set()

    def __enter__(self) -> Crowd:
        for client in self.people:
            for name in NAMES:
                self._ask(client, name)
        return self

    def __exit__(self, *why: object) -> None:
        self._pool.shutdown()

    def _ask(self, client: Client, name: str) -> None:
        self._asking.add((client.name, name))
        self._pool.submit(self._asked, client, name)

    def _asked(self, client: Client, name: str) -> None:
        try:
            answer = client.api("POST", f"users/{client.name}/servers/{name}")
            if answer.status_code not in (201, 202):
                self.said.append((client.name, name, f"{answer.status_code} {answer.text}"))
        except Exception as error:
            self.said.append((client.name, name, repr(error)))
        finally:
            self._asking.discard((client.name, name))

    def look(self) -> bool:
        """Ask about each person's servers once; whether all are there."""
        for client in self.people:
            try:
                servers = client.api("GET", f"users/{client.name}").json()["servers"]
            except Exception:
                continue  # the hub is not there now
            for name in NAMES:
                found = servers.get(name)
                if found and found["ready"]:
                    self.ready.add((client.name, name))
                    continue
                self.ready.discard((client.name, name))
                if self.again and not (found and found["pending"]) and (client.name, name) not in self._asking:
                    self._ask(client, name)
        return self.ready == ALL

    def wait(self, seconds: float, what: Callable[[], str]) -> None:
        wait_until(self.look, seconds, lambda: f"{ALL - self.ready}\n{self.said}\n{what()}", interval=1.0)


def servers(site: Site) -> list[Process]:
    """Every process that is somebody's server."""
    return [one for one in site.machine.processes() if one.uid >= 1000 and "manylab.lab" in one.argv]


def pid_of(site: Site, part: str) -> int:
    """The process that is this part; 0 without one."""
    running = site.machine.processes()
    if part == "nursery":
        warden = pid_of(site, "warden")
        return next((one.pid for one in running if one.parent == warden and "manylab.warm.nursery" in one.argv), 0)
    return next((one.pid for one in running if PARTS[part] in one.argv), 0)


def zombies(site: Site) -> list[Process]:
    return [one for one in site.machine.processes() if one.argv and one.argv[0] == "<zombie>"]


def opens(client: Client, name: str) -> int:
    """The status of the Lab's page of a server, through sign-in."""
    return client.http.get(f"{client.url}user/{client.name}/{name}/lab").status_code


def stop_all(site: Site, people: list[Client]) -> None:
    """By the API; nothing is left of any server."""
    with ThreadPoolExecutor(EACH * len(people)) as pool:
        answers = pool.map(
            lambda one: one[0].api("DELETE", f"users/{one[0].name}/servers/{one[1]}"),
            [(client, name) for client in people for name in NAMES],
        )
    assert {answer.status_code for answer in answers} <= {202, 204}
    wait_until(lambda: not servers(site), 60, lambda: "\n".join(map(str, servers(site))))
    wait_until(lambda: not ask(site, "status")["servers"], 60, site.logs)
    wait_until(lambda: not zombies(site), 60, lambda: "\n".join(map(str, zombies(site))))


@pytest.mark.parametrize("part", ["nursery", "hub", "warden"])
def test_everybody_has_every_server_they_asked_for(site, people, part, capsys):
    site.wait_until_it_answers()
    wait_until(lambda: pid_of(site, "nursery"), 60, site.logs)
    began = time.monotonic()
    with Crowd(people, again=part != "nursery") as crowd:
        wait_until(lambda: len(servers(site)) >= 3, 60, site.logs)
        there, victim = len(servers(site)), pid_of(site, part)
        site.machine.run(f"kill -KILL {victim}")
        crowd.wait(300, lambda: site.logs(200))
    took = time.monotonic() - began
    found = {(one["user"], one["server"]): one["pid"] for one in ask(site, "status")["servers"]}
    assert set(found) == ALL
    assert sorted(found.values()) == sorted(one.pid for one in servers(site)), "no server that nobody knows"
    with ThreadPoolExecutor(len(people)) as pool:
        opened = list(pool.map(lambda client: [opens(client, name) for name in NAMES], people))
    assert opened == [[200] * EACH] * len(people)
    if part == "nursery":
        assert crowd.said == []
    with capsys.disabled():
        print(
            f"\n{site.suite} {site.init}: {part} killed with {there} of {len(ALL)}; all after {took:.1f} s; "
            f"{len(crowd.said)} questions had no answer: {sorted({said[:60] for *_, said in crowd.said})}"
        )
    stop_all(site, people)


# a full disk


@contextlib.contextmanager
def full_disk(site: Site) -> Iterator[None]:
    """No room for another byte where homes, logs and the hub's database are."""
    fill = (
        "fallocate -l $(df --output=avail -B1 /var/lib | tail -n 1) /var/lib/ballast; dd if=/dev/zero of=/var/lib/more"
    )
    site.machine.run(f"{fill} bs=4k 2>/dev/null || true")
    try:
        yield
    finally:
        site.machine.run("rm -f /var/lib/ballast /var/lib/more")


def save(client: Client, text: str) -> tuple[int, str]:
    """Status and words of the answer."""
    model = {"type": "file", "format": "text", "content": text * 9000}
    answer = client.server("PUT", "api/contents/notes.txt", json=model)
    return answer.status_code, answer.text


def test_a_full_disk_ends_nobodys_work_and_afterwards_all_is_as_before(site, people):
    alice, bob, carol = people[:3]
    alice.open_lab()
    alice.run("kept = 42")
    assert save(alice, "x")[0] == 201
    with full_disk(site):
        with site.client("dave", PASSWORD) as dave:
            dave.sign_in()
        for _ in range(3):
            answer = bob.api("POST", "users/bob/server")
            assert answer.status_code in (201, 202) or "full" in answer.text, answer.text
            assert bob.signed_in()
            if answer.status_code < 300:
                bob.stop_server()
        assert alice.run("kept").endswith("42")
        status, words = save(alice, "y")
        assert status == 500 and "No space left on device" in words
        assert "disk-full" in site.manylab("doctor", check=False).stdout
    assert site.answers()
    assert alice.run("kept") == "42"
    assert save(alice, "z")[0] == 200
    for client in (bob, carol):
        client.open_lab()
        assert client.run("6 * 7") == "42"
    for client in (alice, bob, carol):
        client.stop_server()
        client.kernel = ""


# no more processes


@contextlib.contextmanager
def no_more_processes(site: Site, *pids: int) -> Iterator[None]:
    """By a control group with a limit that is used up; nothing where there are none."""
    run, tree = site.machine.run, "/sys/fs/cgroup/pids"
    before = {}
    for pid in pids:
        rows = (line.split(":", 2) for line in site.machine.read(f"/proc/{pid}/cgroup").splitlines())
        before[pid] = next(path for _, kind, path in rows if kind == "pids")
    run(f"mkdir {tree}/full; echo 1 > {tree}/full/pids.max")
    try:
        for pid in pids:
            run(f"echo {pid} > {tree}/full/cgroup.procs")
        yield
    finally:
        for pid, path in before.items():
            run(f"echo {pid} > {tree}{path}/cgroup.procs")
        run(f"rmdir {tree}/full")


@contextlib.contextmanager
def no_fork(site: Site, pid: int) -> Iterator[None]:
    """By the limit of processes of its account, which root may set only where it has CAP_SYS_RESOURCE."""
    limit = f"setpriv --reuid=manylab-nursery --regid=manylab-nursery --clear-groups prlimit --pid {pid}"
    most = site.machine.run(f"{limit} --nproc --noheadings -o HARD").stdout.strip()
    site.machine.run(f"{limit} --nproc=0:{most}")
    try:
        yield
    finally:
        site.machine.run(f"{limit} --nproc={most}:{most}")


def test_where_no_process_can_be_had_starts_are_cold_or_say_so_and_later_they_are_warm_again(site, people, capsys):
    alice, bob = people[:2]
    nursery = wait_until(lambda: pid_of(site, "nursery"), 60, site.logs)
    wait_until(lambda: site.machine.exists("/run/manylab/nursery/server.sock"), 60, site.logs)
    alice.open_lab()
    alice.run("kept = 42")
    with no_fork(site, nursery):
        bob.start_server()
        site.wait_for_log("bob/ does not start warm: the nursery gave no child: no process can be had")
        bob.stop_server()
    with no_more_processes(site, nursery, pid_of(site, "warden")):
        answer = bob.api("POST", "users/bob/server")
        assert answer.status_code == 500 and "Your server could not be started" in answer.text, answer.text
        assert alice.run("kept") == "42"
        assert site.answers()
    assert pid_of(site, "nursery") == nursery
    bob.start_server()
    assert sorted(one.parent for one in servers(site)) == [nursery, nursery]
    for client in (alice, bob):
        client.stop_server()
        client.kernel = ""
