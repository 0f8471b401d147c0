"""Without systemd, the site's daemons are the same whatever shell starts them: a boot, a Lab terminal, a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness import wait_until

from support.build import SMALL
from support.site import Site

PASSWORD = "wonderland 1865"
# What a daemon has from whoever started it, by what it is. A confined one has a mount namespace of its own.
LOOK = r"""
import json, os, re
ROLES = ("--inner", "manylab.supervise", "pam_check", "manylab.warden", "culler", "manylab.hub",
         "configurable-http-proxy", "nursery")
def text(pid, name):
    try:
        return open(f"/proc/{pid}/{name}").read()
    except OSError as error:
        return error.strerror
found = []
for pid in (entry for entry in os.listdir("/proc") if entry.isdigit()):
    words = text(pid, "cmdline").split("\0")
    role = next((role for role in ROLES if any(role in word for word in words[1:])), None)
    status = dict(line.split(":\t", 1) for line in text(pid, "status").splitlines() if ":\t" in line)
    if role in (None, "pam_check") or not words[0].endswith(("python", "node")) or status["State"][0] == "Z":
        continue
    if int(status["Uid"].split()[0]) >= 1000 or {"--status", "--start", "--restart"} & {*words}:
        continue
    namespaces = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns")}
    if namespaces["mnt"] != os.readlink("/proc/1/ns/mnt"):
        namespaces["mnt"] = sorted({line.split()[4] for line in text(pid, "mountinfo").splitlines()})
    stat = text(pid, "stat").rpartition(")")[2].split()
    one = {
        "namespaces": namespaces, "cgroup": text(pid, "cgroup"), "limits": text(pid, "limits"),
        "oom": text(pid, "oom_score_adj"),
        "environ": sorted(re.sub(r"-[0-9a-f]{8}\.d", "", text(pid, "environ")).split("\0")),
        "terminal": stat[4], "nice": stat[16], "policy": stat[38],
        "processors": sorted(os.sched_getaffinity(int(pid))), "personality": text(pid, "personality"),
        "audit": text(pid, "loginuid"), "dump": text(pid, "coredump_filter"),
        "cwd": role == "nursery" or os.readlink(f"/proc/{pid}/cwd"),
        "ionice": os.popen(f"ionice -p {pid}").read(),
        **{name: status[name] for name in ("Umask", "SigBlk", "SigIgn", "Groups", "NoNewPrivs", "CapBnd", "Seccomp")},
    }
    found.append((role, one))
print(json.dumps(found))
"""
# A shell that has nothing in common with a boot's; as root.
ODD = """#!/bin/sh
ulimit -Sn 77; ulimit -Ss 4096; umask 077; trap '' INT HUP QUIT TERM USR1; export LD_DEBUG_OUTPUT=/o ODD=1
choom -n 321 -p $$ >/dev/null
exec nice -n 7 ionice -c 3 taskset -c 0 setarch -R unshare --mount --ipc --uts \
    sh -c 'hostname odd; mount -t tmpfs tmpfs /mnt; exec "$@"' odd "$@"
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(("bookworm", "none"), marks=pytest.mark.soak), ("trixie", "sysv")],
    ids="-".join,
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site that runs as a service, with bob, who may be root through sudo."""
    suite, init = request.param
    with Site(suite, init, config=SMALL) as one:
        machine = one.machine
        machine.run("apt-get update -qq; apt-get install -qq -y --no-install-recommends sudo", timeout=300)
        one.install(timeout=600)
        one.add_user("bob", PASSWORD)
        machine.write("/usr/local/bin/odd", ODD, mode=0o755)
        machine.write("/etc/sudoers.d/bob", "bob ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        if init == "sysv":
            machine.reboot()
        else:
            machine.run("service manylab restart")
        one.wait_until_it_answers()
        yield one


Daemons = list[tuple[str, dict[str, Any]]]


def daemons(site: Site) -> Daemons:
    """Role and properties of each, once all that belong to a site are there."""
    found: Daemons = []
    want = {"nursery", "configurable-http-proxy", "manylab.hub", "manylab.warden", "manylab.supervise", "--inner"}

    def look() -> bool:
        found[:] = json.loads(site.machine.run(["python3", "-c", LOOK]).stdout)
        return {role for role, _ in found} >= want

    site.wait_until_it_answers()
    wait_until(look, 60, lambda: f"all daemons: {[role for role, _ in found]}")
    return found


def assert_same(site: Site, clean: Daemons, but: tuple[str, ...] = ()) -> None:
    """Each is like one of the clean ones, soon: a process that starts another has blocked its signals for a moment."""

    def different() -> list[object]:
        return [
            (role, name, value)
            for role, one in daemons(site)
            for name, value in one.items()
            if role not in but and value not in [other[name] for like, other in clean if like == role]
        ]

    wait_until(lambda: not different(), 20, lambda: f"the same daemons: {different()}")


def test_daemons_are_as_after_a_boot_whatever_starts_them(site):
    clean = daemons(site)
    groups = site.machine.run("cat /proc/1/cgroup").stdout
    assert {one["cgroup"] for _, one in clean} == {groups}
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        bob.open_lab()
        bob.run("x = 41")
        # Not waited for in the cell: the proxy restarts, too, and with it the way to the kernel.
        command = "sudo odd sh -c 'service manylab restart; echo ended $?' > ~/said 2>&1"
        bob.run(f"import subprocess; subprocess.Popen({command!r}, shell=True); None")
        wait_until(lambda: "ended" in site.machine.read("/home/bob/said"), 60, "the end of the restart")
        assert "ended 0" in site.machine.read("/home/bob/said")
        assert_same(site, clean)
        wait_until(lambda: bob.server("GET", "api/status").status_code == 200, 60, "the way to bob's server")
        assert bob.run("x") == "41"
        # What ends with bob's server is bob's.
        bob.stop_server()
        site.wait_until_it_answers()
        assert_same(site, clean)


@pytest.mark.parametrize("command", ["/etc/init.d/manylab", "/srv/manylab/manylab"])
def test_a_start_after_a_stop_is_clean_too(site, command):
    clean = daemons(site)
    site.machine.run("service manylab stop")
    site.machine.run(["odd", command, "start"])
    assert_same(site, clean)


@pytest.mark.parametrize(
    "shell", ["unshare --user --map-root-user", "sh -c 'ulimit -n 200; exec \"$@\"' sh", "setpriv --no-new-privs"]
)
def test_a_restart_needs_no_power_that_its_shell_has_given_up(site, shell):
    clean = daemons(site)
    site.machine.run(f"{shell} /etc/init.d/manylab restart")
    assert_same(site, clean)


def test_where_a_start_cannot_be_clean_it_is_refused_with_a_sentence(site):
    clean = daemons(site)
    site.machine.run("service manylab stop")
    for shell, reason in (
        ("unshare --user --map-root-user", "user namespace"),
        ("unshare --pid --fork", "pid namespace"),
        ("setpriv --bounding-set=-sys_admin", "capabilities"),
        ("setpriv --no-new-privs", "no_new_privs"),
    ):
        done = site.machine.run(f"{shell} /etc/init.d/manylab start", check=False)
        assert done.returncode == 1 and reason in done.stderr, done
        assert not site.answers()
    # Root of this machine may or may not raise what is lowered here.
    done = site.machine.run(["sh", "-c", "ulimit -n 200; /etc/init.d/manylab start"], check=False)
    assert done.returncode == 0 or (done.returncode == 1 and "ulimit -H" in done.stderr), done
    if done.returncode:
        site.machine.run("service manylab start")
    assert_same(site, clean)


def test_up_in_a_terminal_starts_the_same_daemons_and_ends_with_ctrl_c(site):
    clean = daemons(site)
    site.manylab("stop")
    with site.machine.popen(["odd", "/srv/manylab/manylab", "up"], tty=True, cwd="/") as running:
        site.wait_until_it_answers(running)
        # The first is in the foreground, the second knows of it.
        assert_same(site, clean, but=("manylab.supervise", "--inner"))
        running.send("\x03")
        running.wait(60)
    site.wait_until_nothing_is_left()
    site.manylab("start")
