"""`manylab top` on a real site: everybody for root, one's own for others, and on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.apart import Pair, pair
from support.build import CHECKOUT, SMALL

CONFIG = f'{SMALL}[servers]\nmemory = "1G"\n'


@pytest.fixture(scope="module", params=[("bookworm", "none"), ("trixie", "systemd")], ids="-".join)
def two(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair(*request.param, config=CONFIG) as made:
        yield made


def top(two: Pair, user: str | None = None) -> dict:
    return json.loads(two.site.manylab("top", "--json", user=user).stdout)


def of(said: dict, name: str) -> dict:
    return next(server for server in said["servers"] if server["user"] == name)


def test_root_sees_everybody_with_their_kernels(two):
    said = top(two)
    assert (said["total"]["people"], said["total"]["servers"], said["total"]["kernels"]) == (2, 2, 2)
    for server in said["servers"]:
        assert server["pid"] == two.server_pid(server["user"])
        assert [part["kind"] for part in server["parts"][:2]] == ["server", "kernel"]
        assert server["own"] == sum(part["own"] for part in server["parts"]) > 5 << 20
        assert server["shared"] > 0
        assert server["tasks"] >= 2
    assert of(said, "alice")["parts"][1]["name"] == two.alice.kernel


def test_status_and_top_say_the_same_of_a_server_s_memory(two):
    two.alice.run("import os; kept = bytearray(os.urandom(1 << 20)) * 100")
    of_top = {server["user"]: server["own"] + server["shared"] for server in top(two)["servers"]}
    found = json.loads(two.site.manylab("status", "--json").stdout)["servers"]
    assert {one["user"] for one in found} == {*of_top}
    for one in found:
        assert abs(one["memory"] - of_top[one["user"]]) < 10 << 20, "the kernels of a warm server count"
    assert of_top["alice"] - of_top["eve"] > 80 << 20
    two.alice.run("del kept")


def test_memory_and_processors_are_counted_where_they_are_used(two):
    before = of(top(two), "alice")["parts"][1]
    two.alice.run("import os; kept = bytearray(os.urandom(1 << 20)) * 200")
    two.alice.run(
        "import threading; stop = False\ndef burn():\n    while not stop: pass\nthreading.Thread(target=burn).start()"
    )
    said = top(two)
    after = of(said, "alice")["parts"][1]
    assert after["own"] - before["own"] > 150 << 20
    assert of(said, "alice")["cpu"] > of(said, "eve")["cpu"]
    two.alice.run("stop = True; del kept")


def test_a_person_sees_their_own_and_nothing_of_others(two):
    said = top(two, "eve")
    assert [server["user"] for server in said["servers"]] == ["eve"]
    assert said["servers"][0]["pid"] == two.server_pid("eve")
    assert said["servers"][0]["kernels"] == 1
    assert said["servers"][0]["own"] > 5 << 20
    assert "alice" not in two.site.manylab("top", "--once", user="eve").stdout


def test_the_limit_is_shown_where_there_is_one(two):
    limits = {server["limit"] for server in top(two)["servers"]}
    assert limits == {1 << 30}


def test_a_process_with_an_evil_name_does_not_reach_the_terminal(two):
    two.eve.run(
        "import subprocess, ctypes\n"
        "evil = subprocess.Popen(['python3', '-c', '''import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b\"\\\\x1b[2J\\\\x07evil\", 0, 0, 0); time.sleep(600)'''], start_new_session=True)"
    )
    text = two.site.manylab("top", "--once").stdout
    assert "\x1b" not in text
    assert "\x07" not in text
    two.eve.run("evil.kill()")


def test_on_a_terminal_it_goes_on_until_it_is_told_to_end(two):
    with two.site.machine.popen([f"{CHECKOUT}/manylab", "top", "--interval", "0.5"], tty=True, cwd="/") as running:
        running.wait_for_output("Q end", 60)
        assert "alice" in running.output()
        running.send("p")
        wait_until(lambda: "CPU%*" in running.output(), 60, running.output)
        running.send("q")
        assert running.wait(20) == 0
