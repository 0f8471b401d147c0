"""The nursery of servers with a real warden as root: what it holds, who can make it do something, and how it stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from manylab.system import warden_client as client
from manylab.warden import cgroups, hierarchies
from manylab.warm import capabilities
from support.warden_site import NURSERY, PEOPLE, READY, STRANGER, Site, acting_as, runs, until

ALICE, BOB = PEOPLE["mlt-alice"], PEOPLE["mlt-bob"]
SLEEP = READY + "import time; time.sleep(1000)"


@pytest.fixture(scope="module")
def warm():
    return True


@pytest.fixture(autouse=True)
def as_it_was(site):
    yield
    site.serve(None)
    site.write_settings()
    assert site.ask("stop-all", uid=0)["ok"]
    until(lambda: starts_warm(site), 60.0)


def starts_warm(site: Site) -> bool:
    """Whether the nursery of the settings as they are now is there: the one before may be there still."""
    answer = site.start("mlt-bob")
    warm = status_of(answer["pid"])["PPid"] == str(nursery_of(site))
    site.ask("stop", user="mlt-bob", server="", now=True)
    return warm


def nursery_of(site: Site) -> int:
    """The pid of the nursery that takes connections, 0 while there is none."""
    if not (site.root / "run/nursery/server.sock").exists():
        return 0
    found = re.findall(r"the nursery server is ready after .* pid (\d+)", site.log.read_text())
    return int(found[-1]) if found and runs(int(found[-1])) else 0


def connect(site: Site, uid: int = 0) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    with acting_as(uid):
        connection.connect(str(site.root / "run/nursery/server.sock"))
    return connection


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def memory_has(pid: int, secret: bytes) -> bool:
    """Whether any page that the process can read holds this."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            first, mode = line.split()[:2]
            start, end = (int(word, 16) for word in first.split("-"))
            if mode[0] != "r" or "[v" in line:
                continue
            with contextlib.suppress(OSError, ValueError):
                memory.seek(start)
                if secret in memory.read(end - start):
                    return True
    return False


def log_of(site: Site) -> list[str]:
    return site.log.read_text().splitlines()


def told(site: Site, text: str) -> None:
    until(lambda: text in site.log.read_text(), 30.0)


def starts(site: Site, names: list[str], user: str = "mlt-alice") -> list[dict]:
    """Each of these servers of one person, all asked for at once."""
    answers: list[dict] = []

    def start(name: str) -> None:
        question = {"do": "start", "user": user, "server": name, "env": {}}
        answers.append(client.ask_sync(site.socket, question, 120))

    threads = [threading.Thread(target=start, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_the_nursery_is_its_own_account_with_four_capabilities_none_in_effect_and_one_thread(site):
    status = status_of(nursery_of(site))
    assert set(status["Uid"].split()) == {str(NURSERY)}
    assert "0" not in status["Gid"].split()
    assert status["Groups"] == ""
    assert int(status["CapPrm"], 16) == sum(1 << number for number in capabilities.NURSERY)
    assert {int(status[name], 16) for name in ("CapEff", "CapInh", "CapAmb")} == {0}
    assert status["Threads"] == "1"


def test_nobody_but_root_can_connect_to_the_nursery_of_servers(site):
    for uid in (ALICE, STRANGER, NURSERY):
        with pytest.raises(PermissionError):
            connect(site, uid)


def test_a_warm_server_came_from_the_nursery_and_a_cold_one_did_not(site):
    answer = site.start("mlt-alice")
    assert status_of(answer["pid"])["PPid"] == str(nursery_of(site))
    site.ask("stop", user="mlt-alice", server="", now=True)
    site.write_settings(nurseries=[])
    answer = site.start("mlt-alice")
    assert status_of(answer["pid"])["PPid"] == str(site.ask("list") and warden_of(site))


def warden_of(site: Site) -> int:
    """`unshare` execs, so the process that was started is the warden itself."""
    return site.process.pid


def test_no_persons_token_is_in_the_memory_of_the_nursery_or_of_another_persons_server(site):
    secret = "s3cret-" + os.urandom(8).hex()
    alice = site.start("mlt-alice", JUPYTERHUB_API_TOKEN=secret)
    bob = site.start("mlt-bob", JUPYTERHUB_API_TOKEN="another")
    site.report("mlt-alice")
    site.report("mlt-bob")
    assert memory_has(alice["pid"], secret.encode()), "the search finds what is there"
    assert not memory_has(bob["pid"], secret.encode())
    assert not memory_has(nursery_of(site), secret.encode())


def test_what_python_decides_at_its_start_is_decided_anew_for_each_person(site):
    program = READY + (
        "import json, os, random, time, multiprocessing.process as p\n"
        "said = [random.random(), p.current_process().authkey.hex()]\n"
        "path = os.environ['HOME'] + '/said.json'\n"
        "open(path + '.new', 'w').write(json.dumps(said)); os.rename(path + '.new', path)\n"
        "time.sleep(1000)\n"
    )
    site.serve(program)
    found = []
    for name in ("mlt-alice", "mlt-bob"):
        site.start(name)
        path = site.home / name / "said.json"
        until(path.exists)
        found.append(json.loads(path.read_text()))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_garbage_and_silence_on_the_nurserys_socket_harm_nobody(site):
    before = nursery_of(site)
    sent = [
        b"",
        b"\n",
        b"{}\n",
        b"[" * 100_000,
        os.urandom(100_000),
        b'{"uid": 0, "gid": 0, "groups": []}\n',
        b"null\n",
    ]
    open_ones = [connect(site) for _ in range(3) for _ in sent]
    for connection, data in zip(open_ones, sent * 3, strict=True):
        with contextlib.suppress(OSError):
            connection.sendall(data)
    silent = [connect(site) for _ in range(20)]
    answer = site.start("mlt-alice")
    assert answer["ok"] and status_of(answer["pid"])["PPid"] == str(before)
    for connection in (*open_ones, *silent):
        connection.close()
    until(lambda: len(children_of(before)) == 1)  # alice's server; those who were told nonsense have ended
    assert nursery_of(site) == before


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_order_for_root_is_refused_by_the_child_itself(site):
    """As if the warden had been deceived. Who is a system account is the warden's knowledge: see test_warden_abuse."""
    with connect(site) as connection:
        line = connection.makefile()
        pid = json.loads(line.readline())["pid"]
        order = {"uid": 0, "gid": 0, "groups": [], "home": "/", "folder": "/tmp", "name": "x", "env": {}, "files": 1024}
        order |= {"umask": 0o022, "limits": {}, "nice": None, "no_new_privileges": False}
        connection.sendmsg(
            [json.dumps(order).encode() + b"\n"],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, int.to_bytes(2, 4, "little"))],
        )
        assert json.loads(line.readline())["reason"] == "system-account"
    until(lambda: not runs(pid))


def test_a_nursery_does_not_import_from_where_others_can_write(site):
    folder = site.root / "venv/lib/mlt-open"
    folder.mkdir()
    (folder / "mlt_open.py").write_text("")
    folder.chmod(0o777)
    packages = next((site.root / "venv/lib").glob("python*/site-packages"))
    pth = packages / "mlt_open.pth"
    pth.write_text(f"{folder}\n")
    try:
        nursery = {**site.settings["nurseries"][0], "modules": ["mlt_entry", "mlt_open"]}
        site.write_settings(nurseries=[nursery])
        told(site, f"{folder} can be written by others")
        answer = site.start("mlt-alice")
        assert answer["ok"] and status_of(answer["pid"])["PPid"] == str(warden_of(site))
    finally:
        pth.unlink()


def test_a_nursery_of_another_kind_takes_the_place_of_the_one_before_and_its_servers_go_on(site):
    before = nursery_of(site)
    site.serve(SLEEP)
    answer = site.start("mlt-alice")
    site.write_settings(nurseries=[{**site.settings["nurseries"][0], "modules": ["mlt_entry", "json"]}])
    until(lambda: nursery_of(site) not in (0, before), 30.0)
    assert runs(answer["pid"]) and runs(before)
    assert status_of(site.start("mlt-bob")["pid"])["PPid"] == str(nursery_of(site))
    os.kill(answer["pid"], signal.SIGSEGV)
    until(lambda: site.ask("status", user="mlt-alice", server="")["state"] == "exited")
    assert site.ask("status", user="mlt-alice", server="")["exit"] == -signal.SIGSEGV, "the retired one still tells"
    until(lambda: not runs(before))


def test_a_killed_nursery_comes_back_and_its_servers_go_on(site):
    site.serve(SLEEP)
    answer = site.start("mlt-alice")
    before = nursery_of(site)
    assert before  # 0 would be the tests' own process group
    os.kill(before, signal.SIGKILL)
    cold = site.start("mlt-bob")
    assert cold["ok"] and runs(answer["pid"])
    until(lambda: nursery_of(site) not in (0, before), 30.0)
    assert site.ask("stop", user="mlt-alice", server="", now=False)["was"] == "running"
    assert not runs(answer["pid"])


@pytest.mark.timeout(240)
def test_everybody_gets_a_server_while_the_nursery_is_killed_again_and_again(site):
    site.serve(SLEEP)
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.1):
            if (pid := nursery_of(site)) != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        answers = starts(site, [f"s{number}" for number in range(50)])
    finally:
        done.set()
        killer.join()
    assert [answer for answer in answers if not answer["ok"]] == []
    assert len({answer["pid"] for answer in answers}) == 50
    assert site.ask("stop-all") == {"ok": True, "stopped": 50}


@pytest.mark.timeout(240)
def test_two_hundred_at_once_all_come_from_the_nursery(site):
    site.serve(SLEEP)
    answers = starts(site, [f"s{number}" for number in range(200)])
    assert all(answer["ok"] for answer in answers)
    parents = {status_of(answer["pid"])["PPid"] for answer in answers}
    assert parents == {str(nursery_of(site))}, [
        line for line in log_of(site) if "cold" in line or not line.startswith("warden: ")
    ]
    assert site.ask("stop-all") == {"ok": True, "stopped": 200}


def held(pid: int) -> tuple[int, int, int]:
    """Descriptors, children (zombies too) and KiB that only this process has."""
    private = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean", "Private_Dirty")):
            private += int(line.split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), len(children_of(pid)), private  # noqa: PTH208


@pytest.mark.timeout(420)
def test_a_thousand_starts_and_stops_leave_nothing_behind(site):
    site.serve(SLEEP)
    nursery, warden = nursery_of(site), warden_of(site)
    cages: set[Path] = set()

    def round_of(number: int) -> None:
        for _ in range(number):
            answer = site.ask("start", user="mlt-alice", server="", env={})
            assert answer["ok"]
            cages.update(cage_of(answer["pid"]))
            assert site.ask("stop", user="mlt-alice", server="", now=True)["was"] == "running"

    round_of(100)
    before = {pid: held(pid) for pid in (nursery, warden)}
    round_of(900)
    for pid, (descriptors, children, private) in before.items():
        until(lambda pid=pid, children=children: len(children_of(pid)) <= children)
        after = held(pid)
        assert after[0] <= descriptors + 2, (before, after)
        assert after[2] <= private + 2048, (before, after)
    assert nursery_of(site) == nursery
    assert list((site.root / "run/warden/registry").glob("*.json")) == []
    assert [cage for cage in cages if cage.exists()] == []


def cage_of(pid: int) -> list[Path]:
    """The control groups that were made for a server, wherever this machine has its trees."""
    return [folder for folder in hierarchies.of(pid) if "mlt-alice" in folder.name]


def test_a_fork_that_is_refused_is_said_and_the_next_one_works(site):
    """There can be no more processes where the nursery is: the start is a cold one."""
    kind = cgroups.detect(None)
    if "tasks" not in cgroups.limited(kind):
        pytest.skip("needs control groups that limit processes")
    site.serve(SLEEP)
    nursery, scope = nursery_of(site), "manylab-server-mlt-nursery-forks.scope"
    limits = cgroups.Limits(tasks=1)
    cage = asyncio.run(cgroups.put(kind, scope=scope, slice_=None, description="", pid=nursery, limits=limits))
    try:
        answer = site.start("mlt-alice")
        assert answer["ok"] and status_of(answer["pid"])["PPid"] == str(warden_of(site))
        told(site, "starts cold")
    finally:
        cgroups.join(warden_of(site), nursery)
        asyncio.run(cgroups.remove(cage))
    site.ask("stop", user="mlt-alice", server="", now=True)
    assert status_of(site.start("mlt-alice")["pid"])["PPid"] == str(nursery)


def test_time_passes_only_while_something_is_asked(site):
    """A nursery that waits does nothing: no timer, no poll."""
    nursery = nursery_of(site)

    def ticks() -> int:
        fields = Path(f"/proc/{nursery}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, begun = ticks(), time.monotonic()
    while time.monotonic() - begun < 2.0:
        time.sleep(0.1)
    assert ticks() == before


def test_a_nursery_whose_rehearsal_goes_wrong_comes_without_it(site):
    """A thread that is left running: a fork would not take it along, so the nursery would be of no use."""
    packages = next((site.root / "venv/lib").glob("python*/site-packages"))
    (packages / "mlt_thread.py").write_text(
        "import threading, time\n"
        "def prepare():\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    site.write_settings(nurseries=[{**site.settings["nurseries"][0], "modules": ["mlt_entry", "mlt_thread:prepare"]}])
    told(site, "threads run")
    before = len(re.findall("the nursery server is ready", site.log.read_text()))
    until(lambda: len(re.findall("the nursery server is ready", site.log.read_text())) > before, 60.0)
    assert status_of(site.start("mlt-alice")["pid"])["PPid"] == str(nursery_of(site))
