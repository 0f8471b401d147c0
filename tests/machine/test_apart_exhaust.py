"""Using things up: eve takes all of something that there is only so much of, and the others go on working."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import wait_until

from support.apart import PASSWORDS, PYTHON, Pair, pair
from support.attacks import WORKED
from support.build import SMALL

CONFIG = f"{SMALL}[servers]\ntasks = 300\n"
HUB = "/run/manylab/hub/hub.sock"
KERNELS = "/run/manylab/nursery/default.sock"
MANY = 3000  # connections; systemd gives a service 1024 files unless it asks for more

# Somebody's service that counts on nobody meaning harm: it may open 64 files.
CARELESS = """
import os, resource, socket, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.umask(0)
listening = socket.socket(socket.AF_UNIX)
listening.bind("/tmp/careless.sock")
listening.listen(4096)
print("ready", flush=True)
held = []
while True:
    try:
        one, _ = listening.accept()
    except OSError:
        continue
    one.setblocking(False)
    try:
        if one.recv(1):
            one.sendall(b"here I am")
    except OSError:
        pass
    held.append(one)
"""


@pytest.fixture(scope="module", params=[("bookworm", "none"), ("bookworm", "systemd")], ids="-".join)
def two(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair(*request.param, config=CONFIG) as made:
        yield made


def others_go_on(two: Pair) -> None:
    """Whoever was there goes on; and somebody signs in anew, has a server started and computes."""
    two.alice.open_lab()
    assert two.alice.run("6 * 7") == "42"
    two.alice.stop_server()
    two.alice.kernel = ""
    with two.site.client("alice", PASSWORDS["alice"]) as again:
        again.sign_in()
        again.open_lab()
        assert again.run("6 * 7") == "42"


def open_files(two: Pair, word: str) -> int:
    """How many files that part of the site has open."""
    pid = next(process.pid for process in two.site.machine.processes() if any(word in arg for arg in process.argv))
    return len(two.attack("listing", f"/proc/{pid}/fd", user="root"))


def test_connections_to_the_hub_are_not_one_accounts_to_take(two):
    with two.victim(CARELESS), two.holding("/tmp/careless.sock", 200) as held:
        assert held >= 64
        assert two.attack("say", "/tmp/careless.sock", "hello?", 1) == ""
    assert two.attack("connect", HUB) == WORKED
    with two.holding(HUB, MANY) as held:
        assert held > 64
        assert open_files(two, "manylab.hub") < 300
        others_go_on(two)


def test_the_nursery_is_not_one_accounts_to_keep_busy(two):
    """Each connection makes it fork; eve opens as many as she can, and alice's kernels are made as ever."""
    nursery = next(one.pid for one in two.site.machine.processes() if any("nursery.py" in arg for arg in one.argv))
    with two.holding(KERNELS, MANY) as held:
        assert held > 100
        children = [
            one for one in two.site.machine.processes() if one.parent == nursery and one.uid != two.uid("alice")
        ]
        assert len(children) < 100
        others_go_on(two)
    two.eve.kernel = ""
    two.eve.open_lab()
    assert two.eve.run("6 * 7") == "42"


FILL = """
import os, sys
folder = sys.argv[1]
if sys.argv[2] == "bytes":
    kept = open(folder + "/all-that-there-is", "wb")
    os.unlink(folder + "/all-that-there-is")  # it takes its room as long as it is open
try:
    for number in range(1_000_000):
        kept.write(bytes(1 << 16)) if sys.argv[2] == "bytes" else open(f"{folder}/{number}", "w").close()
except OSError as error:
    print("full", error.errno, flush=True)
import time
time.sleep(600)
"""


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_the_memory_under_run_is_not_one_persons_to_fill(two, what):
    """Eve may write into a folder there; so may alice's server, and all parts of the machine."""
    run = two.site.machine.run
    run("mkdir -p /srv/memory && mount -t tmpfs -o size=4m,nr_inodes=2k,mode=1777 tmpfs /srv/memory")
    argv = [PYTHON, "-I", "-c", FILL]
    with two.site.machine.popen([*argv, "/srv/memory", what], user="eve", cwd="/") as running:
        running.wait_for_output("full 28", 30)
        assert two.attack("write", "/srv/memory/alices", "x", user="alice") == "ENOSPC"
        assert running.poll() is None
        running.signal(9)
    run("umount /srv/memory")
    two.eve.open_lab()
    before = run("findmnt -no OPTIONS /run").stdout.strip()
    run("mount -o remount,size=48m,nr_inodes=20k /run")
    try:
        with two.site.machine.popen([*argv, "/run/manylab/servers/eve/_", what], user="eve", cwd="/") as running:
            servers = "/run/manylab/servers"
            wait_until(lambda: two.attack("listing", servers, user="root") == ["alice"], 60, two.site.logs)
            if what == "bytes":  # with a name or without: it had them open
                wait_until(lambda: running.poll() is not None, 60, two.site.logs)
        two.site.wait_for_log("eve uses up /run/manylab/servers/eve")
        others_go_on(two)
        # The hub looks every ten seconds; until then it sends her to the server that is gone.
        wait_until(lambda: not two.eve.api("GET", "users/eve").json()["servers"], 60, two.site.logs)
        two.eve.kernel = ""
        two.eve.open_lab()
        assert two.eve.run("6 * 7") == "42"
    finally:
        run(f"mount -o remount,{before} /run")


# Her own /run, where a file that is gone reads as alice's; after what fills the real one.
BLAME = """
import os, subprocess, sys, time
kept = open("/run/manylab/servers/eve/fill", "wb")
kept.write(bytes(30 << 20))
kept.flush()
subprocess.run(["mount", "-t", "tmpfs", "mine", "/run"], check=True)
os.makedirs("/run/manylab/servers/alice")
other = open("/run/manylab/servers/alice/x", "wb")
other.write(bytes(60 << 20))
other.flush()
os.unlink(other.name)
print("reads as", os.readlink(f"/proc/self/fd/{other.fileno()}"), flush=True)
time.sleep(600)
"""

# Files that hold nothing, have no name, and are as many as there can be.
NAMELESS = """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
own, said = "/run/manylab/servers/eve/t", False
while True:
    try:
        os.open(own, os.O_RDWR | os.O_CREAT, 0o600)
        os.unlink(own)
    except OSError as error:
        if not said:
            print("full", error.errno, flush=True)
        said = True
"""


@pytest.mark.parametrize("how", ["blame", "nameless"])
def test_whoever_fills_run_cannot_have_somebody_else_blamed_nor_hide_in_files_without_a_name(two, how):
    run = two.site.machine.run
    before = run("findmnt -no OPTIONS /run").stdout.strip()
    two.alice.open_lab()
    two.eve.open_lab()
    alice = two.server_pid("alice")
    since = two.site.logs(4000).count("eve uses up")
    run("mount -o remount,size=48m,nr_inodes=20k /run")
    try:
        argv = [PYTHON, "-I", "-c", BLAME if how == "blame" else NAMELESS]
        if how == "blame":
            argv = ["unshare", "-Urm", *argv]
        with two.site.machine.popen(argv, user="eve", cwd="/") as running:
            running.wait_for_output("reads as /run/manylab/servers/alice/x" if how == "blame" else "full", 60)
            wait_until(lambda: two.site.logs(4000).count("eve uses up") > since, 60, two.site.logs)
            wait_until(lambda: running.poll() is not None, 60, two.site.logs)
        assert "alice uses up" not in two.site.logs(4000)
        assert two.server_pid("alice") == alice
        assert "alice" in two.attack("listing", "/run/manylab/servers", user="root")
        wait_until(lambda: not two.eve.api("GET", "users/eve").json()["servers"], 60, two.site.logs)
        two.eve.kernel = ""
        two.eve.open_lab()
    finally:
        run(f"mount -o remount,{before} /run")


def test_idle_connections_to_the_public_port_leave_room_for_others(two):
    with two.holding(two.site.machine.port, MANY) as held:
        assert held == MANY
        others_go_on(two)


def test_a_server_cannot_be_filled_up_by_somebody_who_may_not_even_enter(two):
    """Requests to alice's server that begin and do not end; the proxy passes them on."""
    two.alice.open_lab()
    begin = "POST /user/alice/login HTTP/1.1\r\nHost: lab\r\nContent-Length: 9\r\n\r\n"
    with two.holding(two.site.machine.port, 1500, say=begin) as held:
        assert held == 1500
        # They come faster than anybody can look at them; then it answers again, though all are still there.
        url = f"{two.alice.server_url}api"
        wait_until(lambda: two.alice.http.get(url).status_code == 200, 60, lambda: "an answer of alice's server")
        others_go_on(two)


def test_the_hub_and_the_proxy_may_open_as_many_files_as_they_can_be_given(two):
    for word in ("manylab.hub", "configurable-http-proxy"):
        pid = next(process.pid for process in two.site.machine.processes() if any(word in arg for arg in process.argv))
        limits = two.site.machine.read(f"/proc/{pid}/limits")
        soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
        assert soft == hard
