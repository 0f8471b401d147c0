"""Limits of a person's server hold, end what takes too much and nothing else, and say so: with systemd and without.

These machines have control groups of version 1 (see harness/cgroups.py); version 2 is in unit/test_warden_cgroups.py.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.build import SMALL
from support.client import Client, sentence_of
from support.looking import ask, everywhere, in_memory
from support.site import Site

PASSWORD = "wonderland 1865"
PEOPLE = ("alice", "bob", "carol")
CONFIG = f"""\
{SMALL}[servers]
memory = "360M"
cpu = 0.5
tasks = 160
[limits.people.bob]
memory = "500M"
tasks = "none"
[limits.groups.roomy]
cpu = "none"
"""
EAT = "eaten = []\nwhile True:\n    eaten.append(b'x' * (8 << 20))"
# Until something has been ended for memory in this group of processes.
GROW = """
import time
from pathlib import Path
line = next(line for line in open("/proc/self/cgroup") if ":memory:" in line)
limit = Path("/sys/fs/cgroup/memory") / line.split(":", 2)[2].strip("/\\n")
count = lambda: (limit / "memory.oom_control").read_text().split()[-1]
taken, before = [], count()
while count() == before:
    taken.append(b"x" * (4 << 20))
    time.sleep(0.05)
"""
BOMB = """
import subprocess
started = []
try:
    while len(started) < 1000:
        started.append(subprocess.Popen(["sleep", "120"]))
except OSError as error:
    print("at most", len(started), error.errno)
"""
LANGUAGE = "lab/api/settings/@jupyterlab/translation-extension:plugin"


USUAL = (("bookworm", "none"), ("bookworm", "systemd"), ("trixie", "systemd"))


@pytest.fixture(scope="module", params=everywhere(*USUAL), ids="-".join)
def site(request) -> Iterator[Site]:
    """A running site with three people and small limits."""
    suite, init = request.param
    with Site(suite, init, config=CONFIG, machine=in_memory(suite, init, small=True)) as one:
        for name in PEOPLE:
            one.add_user(name, PASSWORD)
        one.machine.run("groupadd roomy && gpasswd -a carol roomy")
        if init == "systemd":
            one.install()
            yield one
        else:
            with one.up():
                yield one


@contextlib.contextmanager
def in_the_lab(site: Site, name: str) -> Iterator[Client]:
    """A person with a new kernel, which is shut down afterwards."""
    with site.client(name, PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.start_kernel()
        try:
            yield client
        finally:  # what it has taken is not missing in the next test
            client.server("DELETE", f"api/kernels/{client.kernel}")


def last_words(client: Client, code: str, timeout: float = 120.0) -> str:
    """What is printed under a cell whose kernel ends, until the Lab hears that it starts again."""
    said = ""
    end = time.monotonic() + timeout
    with client.websocket(f"api/kernels/{client.kernel}/channels") as socket:
        message = uuid.uuid4().hex
        header = {
            "msg_id": message,
            "msg_type": "execute_request",
            "username": "",
            "session": "tests",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        cell = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        socket.send(json.dumps(cell))
        while True:
            try:
                answer = json.loads(socket.recv(timeout=max(0.0, end - time.monotonic())))
            except TimeoutError:
                raise AssertionError(f"the kernel did not end within {timeout:g} s; so far: {said}") from None
            if answer["msg_type"] == "stream" and answer["parent_header"].get("msg_id") == message:
                said += answer["content"]["text"]
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "restarting":
                return said


def server(site: Site, name: str) -> dict[str, object]:
    """A person's server, as `status` knows it."""
    return next(one for one in ask(site, "status")["servers"] if one["user"] == name)


def cage(site: Site, name: str, controller: str) -> str:
    """The folder of a person's server in one tree."""
    text = site.machine.read(f"/proc/{server(site, name)['pid']}/cgroup")
    line = next(line for line in text.splitlines() if controller in line.split(":")[1].split(","))
    return f"/sys/fs/cgroup/{controller}{line.split(':', 2)[2]}"


def test_who_takes_too_much_memory_loses_a_kernel_and_is_told_why_and_nobody_else_notices(site):
    with in_the_lab(site, "alice") as alice, in_the_lab(site, "bob") as bob:
        bob.run("kept = 42")
        before = server(site, "alice")
        other = alice.kernel
        alice.run("kept = 41")
        alice.start_kernel()
        said = last_words(alice, "print('before', flush=True)\n" + EAT)
        assert said.startswith("before\n")
        assert "used 360 MB, and its limit is 360 MB" in said
        assert "your other notebooks are not affected" in said
        assert alice.run("print('again')", timeout=120) == "again\n"
        alice.server("DELETE", f"api/kernels/{alice.kernel}")
        alice.kernel = other
        assert alice.run("print(kept)") == "41\n"
        assert bob.run("print(kept)") == "42\n"
        after = server(site, "alice")
        assert (after["pid"], after["ended_for_memory"]) == (before["pid"], 1)
    assert "alice: 1 kernel or other process ended for memory (limit 360M)" in site.manylab("status").stdout
    site.wait_for_log("was ended for memory: the server's limit is used up (this server: used 360 MB, limit 360 MB)")


def test_it_is_said_in_the_language_of_the_lab(site):
    with in_the_lab(site, "alice") as alice:
        chosen = alice.server("PUT", LANGUAGE, json={"raw": '{"locale": "zh_CN"}'})
        assert chosen.status_code == 204, f"{chosen.status_code} {sentence_of(chosen.text)}\n{site.logs(20)}"
        said = last_words(alice, EAT)
        assert "使用了 360 MB 内存，上限为 360 MB" in said
        alice.server("PUT", LANGUAGE, json={"raw": "{}"})


def test_a_kernel_that_is_killed_by_its_owner_was_not_ended_for_memory(site):
    with in_the_lab(site, "alice") as alice:
        assert last_words(alice, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)") == ""


def test_an_idle_kernel_that_had_to_go_says_so_under_its_next_cell(site):
    with in_the_lab(site, "bob") as bob:
        bob.run("large = b'x' * (300 << 20)")
        large, small = bob.kernel, bob.start_kernel()
        # The other notebook takes memory until the largest is ended, and then no more; by a program of its own, for
        # the machine's kernel may end the second largest as well while it is still taking the first one away.
        bob.run(f"kept = 42\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {GROW!r}])", timeout=120)
        bob.kernel = large
        wait_until(lambda: "Out of memory" in bob.run("print('next')", timeout=120), 60, lambda: "the sentence")
        assert bob.run("print('then')") == "then\n"
        bob.kernel = small
        assert bob.run("print(kept)") == "42\n"
        bob.server("DELETE", f"api/kernels/{large}")


def test_a_fork_bomb_stays_in_its_cage(site):
    with in_the_lab(site, "alice") as alice, in_the_lab(site, "carol") as carol:
        said = alice.run(BOMB, timeout=120)
        assert said.startswith("at most ") and said.endswith(" 11\n"), said
        assert 10 < int(said.split()[2]) < 160
        assert carol.run("import subprocess; print(subprocess.run(['true']).returncode)") == "0\n"
        assert site.answers()
        alice.run("for one in started: one.kill()")


def test_processors_are_limited_and_those_of_a_roomy_group_are_not(site):
    spin = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    with in_the_lab(site, "alice") as alice, in_the_lab(site, "carol") as carol:
        alice.run(spin)
        carol.run(spin)
        throttled = {}
        for name in ("alice", "carol"):
            stat = dict(line.split() for line in site.machine.read(f"{cage(site, name, 'cpu')}/cpu.stat").splitlines())
            throttled[name] = int(stat["nr_throttled"])
        assert throttled["alice"] > 0
        assert throttled["carol"] == 0


def test_a_person_s_own_limits_come_before_everybody_s(site):
    with in_the_lab(site, "alice"), in_the_lab(site, "bob"):
        limits = {name: site.machine.read(f"{cage(site, name, 'pids')}/pids.max").strip() for name in ("alice", "bob")}
        assert limits == {"alice": "160", "bob": "max"}
        assert server(site, "bob")["memory_limit"] == 500 << 20


def test_doctor_finds_all_limits_held_and_says_when_they_are_not(site):
    def found() -> dict[str, str]:
        checks = json.loads(site.manylab("doctor", "--json", check=False).stdout)["checks"]
        return {one["id"]: one["level"] for one in checks}

    levels = found()
    assert levels["limits-unenforced"] == "ok"
    assert levels["server-orphaned"] == "ok"
    if site.init == "none":
        mounts = "for one in /sys/fs/cgroup/*; do mount -o remount,bind,{} $one; done"
        site.machine.run(mounts.format("ro"))
        try:
            assert found()["limits-unenforced"] == "warning"
        finally:
            site.machine.run(mounts.format("rw"))


def test_when_all_take_all_they_can_the_site_goes_on_and_the_sum_is_what_was_said(site):
    config = CONFIG.replace("[servers]", '[servers]\ntotal_memory = "700M"').replace(
        'memory = "360M"', 'memory = "none"'
    )
    for name in PEOPLE:
        with site.client(name, PASSWORD) as client:
            client.sign_in()
            client.open_lab()
            client.stop_server()
    site.configure(config.replace('memory = "500M"', ""))
    site.manylab("apply")
    said: dict[str, str] = {}

    def take_all(name: str) -> None:
        with in_the_lab(site, name) as client:
            said[name] = last_words(client, EAT, timeout=240)

    takers = [threading.Thread(target=take_all, args=(name,)) for name in PEOPLE]
    for taker in takers:
        taker.start()
    answers = []
    while any(taker.is_alive() for taker in takers):
        answers.append(site.answers())
        time.sleep(0.1)
    assert set(said) == set(PEOPLE)
    assert all("the machine ran out of memory" in words for words in said.values()), said
    assert all(answers) and answers
    assert all(one["ended_for_memory"] >= 1 for one in ask(site, "status")["servers"])
