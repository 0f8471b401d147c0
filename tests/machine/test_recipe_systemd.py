"""The recipe's systemd row, on both Debians: hardened units, enabled at boot, and people's work that goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import SUITES, Machine, wait_until

from support.build import CHECKOUT, site_root
from support.client import Client
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG = """\
[servers]
memory = "700M"
cpu = 2.0
tasks = 150
"""


@pytest.fixture(scope="module", params=SUITES)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    # In memory: an upgrade writes half a gigabyte, and deleting that from a busy disk takes a minute.
    machine = Machine(site_root(request.param, "systemd"), tmpfs="3G")
    with Site(request.param, "systemd", config=CONFIG, machine=machine) as one:
        one.install()
        one.add_user("alice", PASSWORD)
        yield one


@pytest.fixture
def alice(site: Site) -> Iterator[Client]:
    """She works: her kernel remembers x = 41."""
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.run("x = 41")
        yield client
        client.server("DELETE", f"api/kernels/{client.kernel}")


def main_pid(site: Site, part: str) -> int:
    return int(site.machine.run(f"systemctl show --value --property MainPID manylab-{part}").stdout)


def wait_until_reachable(site: Site, client: Client) -> None:
    """The site answers, and the hub has told a new proxy the way to this person's server, a moment later."""

    def look() -> bool:
        answer = client.server("GET", "api/status")
        return answer.status_code == 200 and str(answer.url) == f"{client.server_url}api/status"

    site.wait_until_it_answers()
    wait_until(look, 60, "the way to the server")


def server_of(site: Site, name: str) -> tuple[int, str]:
    """Pid and program of somebody's running server."""
    uid = site.machine.person(name).uid
    found = [process for process in site.machine.processes() if process.uid == uid and "manylab.lab" in process.argv]
    assert len(found) == 1, found
    return found[0].pid, found[0].argv[0]


def test_hub_and_proxy_run_without_power_in_a_read_only_system(site):
    machine = site.machine
    for part, account, folder in (
        ("hub", "manylab", "/var/lib/manylab/hub"),
        ("proxy", "manylab-proxy", "/run/manylab/proxy"),
    ):
        pid = main_pid(site, part)
        facts = dict(line.split(":\t", 1) for line in machine.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        assert facts["Uid"].split() == [str(machine.person(account).uid)] * 4
        assert [int(facts[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")] == [0] * 5
        assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
        inside = ["nsenter", "--target", str(pid), "--mount"]
        # As root, so that only the mounts are in the way.
        for path in (
            "/etc/x",
            "/usr/x",
            "/opt/manylab/x",
            "/var/lib/manylab/x",
            "/var/lib/manylab/rendered/hub.json",
            "/run/x",
            "/run/lock/x",
            "/run/manylab/x",
        ):
            done = machine.run([*inside, "touch", path], check=False)
            assert "Read-only file system" in done.stderr, (part, path, done)
        machine.run([*inside, "touch", f"{folder}/x"])
        machine.run([*inside, "rm", f"{folder}/x"])
        assert machine.run([*inside, "ls", "/home"], check=False).stdout == "", "homes are out of sight"
        for place in ("/tmp", "/var/tmp", "/dev/shm"):
            machine.write(f"{place}/of-the-machine", "")
            assert "of-the-machine" not in machine.run([*inside, "ls", place]).stdout


@pytest.mark.parametrize("what", ["manylab-hub", "manylab-proxy", "manylab-warden", "manylab restart"])
def test_a_server_and_what_its_kernel_remembers_survive_a_restart_of(site, alice, what):
    server = server_of(site, "alice")
    if what == "manylab restart":
        before = [main_pid(site, part) for part in ("hub", "proxy", "warden")]
        site.manylab("restart")
        after = [main_pid(site, part) for part in ("hub", "proxy", "warden")]
        assert not set(before) & set(after), "all three were restarted"
    else:
        part = what.removeprefix("manylab-")
        before = main_pid(site, part)
        site.machine.run(["systemctl", "restart", what])
        assert main_pid(site, part) not in (0, before)
    wait_until_reachable(site, alice)
    assert alice.run("x") == "41"
    assert server_of(site, "alice") == server
    assert alice.signed_in()
    assert alice.start_server() == 0.0, "the hub knows that it runs"


@pytest.mark.timeout(300)
def test_an_upgrade_of_manylab_restarts_the_services_and_the_old_server_and_kernel_go_on(site, alice):
    machine = site.machine

    def environments() -> list[str]:
        return [
            machine.run(["readlink", f"/opt/manylab/envs/{name}/current"]).stdout.strip()
            for name in ("hub", "server", "default")
        ]

    old, pid, server = environments(), main_pid(site, "hub"), server_of(site, "alice")
    for file in ("hub/app.py", "lab/server.py"):
        machine.run(f"echo '# a newer version' >> {CHECKOUT}/src/manylab/{file}")
    site.manylab("apply")
    wait_until_reachable(site, alice)
    new = environments()
    assert new[0] != old[0] and new[1] != old[1] and new[2] == old[2]
    assert main_pid(site, "hub") != pid
    assert f"/envs/hub/{new[0]}/" in machine.read(f"/proc/{main_pid(site, 'hub')}/cmdline")
    assert server_of(site, "alice") == server
    assert alice.run("x") == "41"
    assert alice.terminal("echo still here") == "still here"
    site.add_user("bob", PASSWORD)
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        bob.open_lab()
        assert f"/envs/server/{new[1]}/" in server_of(site, "bob")[1], "new servers are new"
    again = site.manylab("apply").stdout
    assert "Nothing to change" in again
    assert alice.run("x") == "41"


EAT = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'x = b\"1\" * (2 << 30)']).returncode)"
FORK = """
import subprocess
many = []
try:
    while len(many) < 400:
        many.append(subprocess.Popen(["sleep", "60"]))
except OSError as error:
    print(type(error).__name__)
finally:
    for one in many:
        one.kill()
        one.wait()
"""


def test_memory_processors_and_tasks_of_a_server_are_limited(site, alice):
    scopes = site.machine.run("systemctl list-units --plain --no-legend 'manylab-server-alice-*.scope'").stdout.split()
    shown = site.machine.run(
        ["systemctl", "show", "-p", "MemoryMax,CPUQuotaPerSecUSec,TasksMax,Slice", scopes[0]]
    ).stdout
    assert set(shown.split()) == {
        f"MemoryMax={700 * 1024**2}",
        "CPUQuotaPerSecUSec=2s",
        "TasksMax=150",
        "Slice=manylab-servers.slice",
    }
    assert alice.run(EAT) == "-9\n", "the kernel's child that takes too much is ended"
    assert alice.run(FORK) == "BlockingIOError\n"
    assert alice.run("x") == "41", "and the rest goes on"


def test_stop_ends_everything_and_start_brings_the_site_back(site, alice):
    alice.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321']); None")
    for stop in (["manylab", "stop"], ["systemctl", "stop", "manylab"]):
        site.machine.run(stop)
        site.wait_until_nothing_is_left()
        assert not site.answers()
        assert site.manylab("status", check=False).returncode == 3
        site.manylab("start") if stop[0] == "manylab" else site.machine.run(["systemctl", "start", "manylab"])
        site.wait_until_it_answers()
        assert site.manylab("status").returncode == 0
        if stop[0] == "manylab":
            alice.start_server()  # so that the second way has something to end too
    alice.open_lab()
    alice.start_kernel()


@pytest.mark.timeout(300)
def test_it_starts_with_the_machine_unless_disabled(site):
    machine = site.machine
    assert machine.run(["systemctl", "is-enabled", "manylab"]).stdout == "enabled\n"
    machine.reboot()
    site.wait_until_it_answers(timeout=60)
    with site.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        assert alice.run("print('hello')") == "hello\n"
    assert "\nNothing to change" in site.manylab("apply").stdout, "a reboot leaves nothing to mend"
    site.manylab("disable")
    assert machine.run(["systemctl", "is-enabled", "manylab"], check=False).stdout == "disabled\n"
    assert site.answers(), "it goes on now"
    site.manylab("enable")
    assert machine.run(["systemctl", "is-enabled", "manylab"]).stdout == "enabled\n"
