"""What administrators set for accounts holds in servers, kernels and terminals: PAM's session stack, as over ssh."""

from __future__ import annotations

import contextlib
import json
import re
import time
import zlib
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.build import SMALL
from support.client import Client, StartFailed
from support.looking import everywhere, in_memory
from support.site import Site

PASSWORD = "wonderland 1865"
STACK = "/etc/pam.d/common-session"
LIMITS = """\
@limited hard cpu 60
@limited hard nproc 900
* soft nofile 777
* hard nofile 1500
* hard memlock 64
"""
ENVIRONMENT = """\
GREETING="good morning"
PATH=/opt/tool/bin:/usr/bin
http_proxy=http://127.0.0.1:9
JUPYTERHUB_API_TOKEN=wrong
MANYLAB_SOCKET=/tmp/wrong
LANG=C.UTF-8
"""
LOOK = """
import json, os, resource
open("by-kernel", "w").close()
mask = os.umask(0)
os.umask(mask)
names = "CPU", "NPROC", "NOFILE", "MEMLOCK"
limits = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names}
print(json.dumps({
    "umask": mask, "mode": os.stat("by-kernel").st_mode & 0o777, "limits": limits, "env": dict(os.environ),
    "groups": os.getgroups(), "parent": open(f"/proc/{os.getppid()}/cmdline").read(),
}))
"""
# Mounted as somebody's home, it answers nothing; it ends by itself.
SILENT = """
import ctypes, os, signal, sys
signal.alarm(120)
if not os.path.exists("/dev/fuse"):
    os.mknod("/dev/fuse", 0o20666, os.makedev(10, 229))
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"fuse", sys.argv[1].encode(), b"fuse", ctypes.c_ulong(6), options):
    sys.exit("no fuse: " + os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
signal.pause()
"""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=everywhere(("bookworm", "none"), ("trixie", "systemd")), ids="-".join)
def site(request) -> Iterator[Site]:
    """A running site on a machine whose administrator has set something for everybody and for a group."""
    suite, init = request.param
    with Site(suite, init, config=SMALL, machine=in_memory(suite, init, small=True)) as one:
        machine = one.machine
        machine.run("groupadd limited && groupadd granted")
        machine.write("/etc/security/limits.d/class.conf", LIMITS)
        machine.write("/etc/environment", ENVIRONMENT)
        machine.run("echo 'SCRATCH DEFAULT=/scratch/@{PAM_USER}' >> /etc/security/pam_env.conf")
        machine.run("sed -i '/^UMASK/d' /etc/login.defs && echo 'UMASK 002' >> /etc/login.defs")
        machine.run("echo 'a file of every home' > /etc/skel/welcome && pam-auth-update --enable mkhomedir")
        if init == "systemd":
            one.install()
            yield one
        else:
            with one.up():
                yield one


@pytest.fixture
def person(site, request):
    """A new account without a home, signed in."""
    with somebody(site, request) as client:
        yield client


@contextlib.contextmanager
def somebody(site: Site, request, *, gecos: str = "") -> Iterator[Client]:
    name = f"p{zlib.crc32(request.node.nodeid.encode())}"
    site.machine.run(["useradd", "-M", "-s", "/bin/bash", "-G", "manylab,limited", "-c", gecos, name])
    site.machine.run("chpasswd", input=f"{name}:{PASSWORD}\n")
    with site.client(name, PASSWORD) as client:
        client.sign_in()
        yield client
        client.stop_server()


@contextlib.contextmanager
def also(site: Site, line: str) -> Iterator[None]:
    """The machine's session stack with one more line."""
    before = site.machine.read(STACK)
    site.machine.write(STACK, before + line + "\n")
    try:
        yield
    finally:
        site.machine.write(STACK, before)


def script(site: Site, name: str, text: str) -> str:
    """A program for pam_exec."""
    site.machine.write(f"/usr/local/sbin/{name}", f"#!/bin/sh\n{text}\n", mode=0o755)
    return f"/usr/local/sbin/{name}"


def looked(client: Client) -> dict:
    client.start_kernel()
    return json.loads(client.run(LOOK))


def refused(client: Client) -> str:
    with pytest.raises(StartFailed) as failed:
        client.open_lab()
    return str(failed.value)


def runs(site: Site, word: str) -> bool:
    return any(word in process.argv for process in site.machine.processes())


def test_what_is_set_for_accounts_holds_in_server_kernel_and_terminal(site, person):
    person.open_lab()
    found = looked(person)
    assert "nursery" in found["parent"] or "warm" in found["parent"], "the kernel is cold"
    limits = {"CPU": [3600, 3600], "NPROC": [900, 900], "NOFILE": [777, 1500], "MEMLOCK": [65536, 65536]}
    assert {name: pair[1] for name, pair in found["limits"].items()} == {name: pair[1] for name, pair in limits.items()}
    assert found["limits"]["NOFILE"] == limits["NOFILE"]
    assert (found["umask"], found["mode"]) == (0o002, 0o664)
    env = found["env"]
    assert (env["GREETING"], env["SCRATCH"]) == ("good morning", f"/scratch/{person.name}")
    assert env["http_proxy"] == "http://127.0.0.1:9"
    # What belongs to the site is not PAM's to set, and the site's environment stays the first on PATH.
    assert "wrong" not in json.dumps(env)
    assert re.search("/opt/manylab/.*/bin:/opt/tool/bin:/usr/bin:", env["PATH"])
    said = person.terminal("umask; ulimit -Sn; ulimit -Hn; ulimit -Ht; ulimit -Hu; echo $GREETING; touch by-terminal")
    assert said.split() == ["0002", "777", "1500", "3600", "900", "good", "morning"]
    made = person.server("PUT", "api/contents/by-server", json={"type": "file", "format": "text", "content": "x"})
    assert made.status_code == 201
    modes = site.machine.run(f"cd /home/{person.name} && stat -c %a by-kernel by-terminal by-server").stdout
    assert modes.split() == ["664"] * 3
    over_su = f"su - {person.name} -c 'umask; ulimit -Sn; ulimit -Hn; ulimit -Ht; ulimit -Hu; echo $GREETING'"
    assert site.machine.run(over_su).stdout.split() == said.split() or site.suite == "bookworm"


def test_a_cold_server_and_a_cold_kernel_have_the_same(site, person):
    person.open_lab()
    warm = looked(person)
    person.stop_server()
    machine = site.machine
    for process in machine.processes():
        if "manylab.warm.nursery" in process.argv or "manylab.warm.main.kernel" in process.argv:
            machine.run(f"kill -STOP {process.pid}")
    try:
        person.open_lab(timeout=120)
        cold = looked(person)
    finally:
        for process in machine.processes():
            if "manylab.warm.nursery" in process.argv or "manylab.warm.main.kernel" in process.argv:
                machine.run(f"kill -CONT {process.pid}")
    assert "manylab.lab" in cold["parent"]
    for what in ("umask", "mode", "limits", "groups"):
        assert cold[what] == warm[what]
    assert cold["env"]["GREETING"] == warm["env"]["GREETING"]


def test_a_home_is_made_at_the_first_sign_in(site, person):
    assert site.machine.run(f"test -e /home/{person.name}", check=False).returncode != 0
    person.open_lab()
    person.start_kernel()
    assert person.run("print(open('welcome').read(), end='')") == "a file of every home\n"
    owner = site.machine.run(f"stat -c %U:%G /home/{person.name} /home/{person.name}/welcome").stdout.split()
    assert owner == [f"{person.name}:{person.name}"] * 2


def test_without_pam_mkhomedir_it_is_said_what_to_type(site, person):
    site.machine.run("pam-auth-update --disable mkhomedir")
    try:
        said = refused(person)
        assert "home folder does not exist" in said and "mkhomedir_helper" in said
        site.machine.run(f"mkdir -m 700 /home/{person.name}")
        assert "home folder cannot be entered" in refused(person)
        site.machine.run(f"rmdir /home/{person.name} && mkhomedir_helper {person.name}")
        person.open_lab()
    finally:
        site.machine.run("pam-auth-update --enable mkhomedir")


def test_an_account_has_its_own_umask_in_its_gecos_field_and_its_groups_of_pam_group(site, request):
    site.machine.run("echo 'manylab;*;*;Al0000-2400;granted' >> /etc/security/group.conf")
    before = site.machine.read("/etc/pam.d/common-auth")
    site.machine.write("/etc/pam.d/common-auth", before + "auth optional pam_group.so\n")
    try:
        with somebody(site, request, gecos="umask=077") as client:
            client.open_lab()
            found = looked(client)
            assert (found["umask"], found["mode"]) == (0o077, 0o600)
            granted = int(site.machine.run("getent group granted").stdout.split(":")[2])
            assert granted in found["groups"]
    finally:
        site.machine.write("/etc/pam.d/common-auth", before)


def test_a_module_that_hangs_is_named_and_ended_and_holds_up_nobody_else(site, person, request):
    with also(site, "session optional pam_exec.so /bin/sleep 4711"):
        begun = time.monotonic()
        said = refused(person)
        assert "session module" in said and "does not answer" in said
        assert 15 < time.monotonic() - begun < 40
        wait_until(lambda: not runs(site, "4711"), 10, lambda: "the module's program is still there")
    site.wait_for_log("a session module does not answer within 20 s and waits for sleep")
    person.open_lab()


def test_a_module_that_crashes_or_refuses_is_named(site, person):
    crash = script(site, "crash", "kill -SEGV $PPID")
    with also(site, f"session optional pam_exec.so {crash}"):
        assert "opens no session" in refused(person)
    site.wait_for_log("a session module crashed")
    with also(site, "session required pam_deny.so"):
        assert "opens no session" in refused(person)
    site.wait_for_log("a module refused it")
    person.open_lab()


def test_a_session_is_closed_when_its_server_has_ended_whoever_is_the_warden_then(site, person):
    note = script(site, "note", f"echo $PAM_TYPE >> /root/{person.name}")
    with also(site, f"session optional pam_exec.so {note}"):
        person.open_lab()
        noted = f"/root/{person.name}"
        assert site.machine.read(noted) == "open_session\n"
        warden = next(one.pid for one in site.machine.processes() if one.argv[3:4] == ("manylab.warden",))
        site.machine.run(f"kill -KILL {warden}")
        wait_until(lambda: site.manylab("status", check=False).returncode == 0, 60, site.logs)
        assert site.machine.read(noted) == "open_session\n"
        person.stop_server()
        wait_until(lambda: site.machine.read(noted) == "open_session\nclose_session\n", 10, site.logs)


def test_a_module_that_hangs_when_the_session_is_closed_is_ended(site, person):
    hang = script(site, "hang", "[ $PAM_TYPE = open_session ] || exec sleep 4712")
    with also(site, f"session optional pam_exec.so {hang}"):
        person.open_lab()
    person.stop_server()
    wait_until(lambda: runs(site, "4712"), 10, site.logs)
    wait_until(lambda: not runs(site, "4712"), 40, site.logs)


def test_what_a_module_prints_opens_and_learns_is_nothing_of_the_persons(site, person):
    leak = script(
        site, "leak", "echo printed by a module; echo also >&2; env > /root/env; ls -l /proc/self/fd > /root/fds"
    )
    with also(site, f"session optional pam_exec.so {leak}"):
        person.open_lab()
    person.start_kernel()
    theirs = person.run(
        "import os\nfor pid in (os.getpid(), int(os.environ['JPY_PARENT_PID'])):\n"
        "    print([os.readlink(f'/proc/{pid}/fd/{one}') for one in os.listdir(f'/proc/{pid}/fd') "
        "if os.path.lexists(f'/proc/{pid}/fd/{one}')])"
    )
    holders = [one.pid for one in site.machine.processes() if "manylab.warden.pam_check" in one.argv]
    held = site.machine.run(["sh", "-c", "for pid; do readlink /proc/$pid/fd/*; done", "sh", *map(str, holders)]).stdout
    assert "/root" not in theirs
    assert not [one for one in held.split() if one.startswith(("socket:", "pipe:")) and one in theirs]
    assert "printed by a module" not in site.logs(400)
    # The program has nothing of the warden's open, and no token that opens the server.
    assert "socket:" not in site.machine.read("/root/fds")
    assert "PAM_USER" in site.machine.read("/root/env")
    assert "JPY_API_TOKEN" not in site.machine.read("/root/env")


def test_a_home_that_does_not_answer_is_named(site, person):
    home = f"/home/{person.name}"
    site.machine.run(f"mkhomedir_helper {person.name}")
    site.machine.write("/root/silent.py", SILENT)
    with site.machine.popen(["python3", "/root/silent.py", home]) as mounted:
        mounted.wait_for_output("mounted", timeout=20)
        begun = time.monotonic()
        said = refused(person)
        assert "Your home folder does not answer" in said
        assert time.monotonic() - begun < 45
        mounted.signal(9)
    site.machine.run(["umount", "-l", home])
    person.open_lab()


def test_no_session_of_logind_is_made(site, person):
    """A user manager would be slow to start, and could take processes out of manylab's limits."""
    person.open_lab()
    if site.init == "systemd":
        assert person.name not in site.machine.run("loginctl list-sessions --no-legend").stdout
    assert not any("--user" in one.argv for one in site.machine.processes())
