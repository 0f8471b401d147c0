"""People who start a server in order to make trouble with it, for others or for whoever is to end it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from manylab.system import warden_client as client
from support.warden_site import READY, runs, until


@pytest.fixture(autouse=True)
def nothing_stays(site):
    yield
    assert site.ask("stop-all", uid=0)["ok"]
    site.serve(None)


HEADLESS = (
    READY
    + """
import ctypes, subprocess, sys, time
code = '''
import ctypes, os, platform, threading, time
def go_on():
    while True:
        open("beat", "w").write(str(time.time()))
        time.sleep(0.05)
threading.Thread(target=go_on).start()
open("pid.new", "w").write(str(os.getpid()))
os.rename("pid.new", "pid")
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # ends this thread alone
'''
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
time.sleep(1000)
"""
)


def threads(pid: int) -> int:
    """How many a process still has; a zombie counts as one."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[17])
    except OSError:
        return 0


@pytest.mark.parametrize("how", ["stop", "while no warden looked"])
def test_a_process_that_looks_ended_and_goes_on_is_ended(site, how):
    """Its first thread has ended, so that ps(1) shows a zombie; it computes all the same."""
    site.serve(HEADLESS)
    answer = site.start("mlt-alice")
    home = site.home / "mlt-alice"
    until((home / "pid").exists)
    pid = int((home / "pid").read_text())
    (home / "pid").unlink()
    until(lambda: not runs(pid) and threads(pid) == 2)
    before = until(lambda: read(home / "beat"))
    until(lambda: read(home / "beat") not in ("", before))
    if how == "stop":
        assert site.ask("stop", user="mlt-alice", server="", now=True)["was"] == "running"
    else:
        site.down(9)
        os.kill(answer["pid"], 9)
        site.up()
    until(lambda: threads(pid) < 2)


def read(path: Path) -> str:
    """What a process has written there up to now."""
    return path.read_text() if path.exists() else ""


def asking(site, user: str, server: str, answers: dict[str, dict]) -> threading.Thread:
    """Somebody asks for a server and waits for the answer, which is put into `answers` under its name."""

    def ask() -> None:
        question = {"do": "start", "user": user, "server": server, "env": {}}
        answers[server] = client.ask_sync(site.socket, question, 90)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


WAITING = f"""
import os, time
if os.environ["USER"] == "mlt-alice":
    os.mkfifo("fifo") if not os.path.exists("fifo") else None
    open("fifo")
{READY}
time.sleep(1000)
"""


def test_starts_that_never_end_are_in_nobody_elses_way(site):
    """A FIFO in the place of a file, a home on a file server that is away: as many as there are turns, and more."""
    site.serve(WAITING)
    answers = {}
    names = [f"s{number}" for number in range(2 * (os.cpu_count() or 1) + 1)]
    threads = [asking(site, "mlt-alice", name, answers) for name in names]
    until(lambda: len(site.ask("list")["servers"]) == len(names) - 1)
    assert site.ask("start", user="mlt-bob", server="", env={})["ok"]
    assert answers == {}
    # And whoever is to end them does not wait for them to answer either.
    begun = time.monotonic()
    for name in names:
        assert site.ask("stop", user="mlt-alice", server=name, now=True)["ok"]
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - begun < 30
    assert {answer["ok"] for answer in answers.values()} == {False}
    assert len(answers) == len(names)


SPINNING = """
while True:
    pass
"""


def test_a_start_that_waits_for_its_turn_can_be_stopped(site):
    """It has nothing that could be ended, and is not begun any more: whoever stops it does not wait for its turn."""
    site.serve(SPINNING)
    turns = 2 * max(1, os.cpu_count() or 1)
    answers = {}

    def started() -> set[str]:
        return {one["server"] for one in site.ask("list")["servers"]}

    threads = [asking(site, "mlt-alice", f"s{number}", answers) for number in range(turns)]
    until(lambda: len(started()) == turns)
    log = site.root / "logs/server-mlt-bob.log"  # opened right before the turn is waited for
    log.unlink(missing_ok=True)
    threads.append(asking(site, "mlt-bob", "late", answers))
    until(log.exists)
    assert client.ask_sync(site.socket, {"do": "stop", "user": "mlt-bob", "server": "late", "now": True}, 15)["ok"]
    assert "late" not in started() | answers.keys()
    for name in started():
        assert site.ask("stop", user="mlt-alice", server=name, now=True)["ok"]
    for thread in threads:
        thread.join(20)
    assert {name: answer["ok"] for name, answer in answers.items()} == dict.fromkeys([*answers], False)
    assert len(answers) == turns + 1
    assert started() == set()


ENDLESS = READY + "os.ftruncate(1, 1 << 42)\n__import__('time').sleep(1000)"


def test_a_log_that_its_server_makes_four_terabytes_long_fills_no_disk(site):
    site.serve(ENDLESS)
    log = site.root / "logs/server-mlt-alice.log"
    began = time.monotonic()
    assert site.start("mlt-alice")["ok"]
    until(lambda: log.stat().st_size > 1 << 40 or log.with_name(log.name + ".1").exists())
    until(lambda: log.stat().st_size < 1 << 24)
    assert log.with_name(log.name + ".1").stat().st_blocks * 512 < 1 << 24
    assert site.ask("list")["ok"]
    print(f"cut after {time.monotonic() - began:.1f} s")
