"""The harness keeps its word: machines are real, apart from the host, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import (
    CommandFailed,
    Init,
    Machine,
    TimedOut,
    cgroups,
    host,
    installed,
    layers,
    owners,
    root,
    root_for,
    sweep,
    wait_until,
)

PID_ONE = {"none": "sleep", "sysv": "init", "systemd": "systemd"}


def traces(name: str) -> list[str]:
    """All that can be seen on the host of a machine: its groups, its folder, its mounts, its processes."""
    found = [str(path) for one in cgroups.hierarchies() for path in one.parent.glob(f"*{name}*")]
    found += [str(path) for path in host.cache().glob(f"*/*{name}")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if name in (process / "cgroup").read_text():
                found.append(f"process {process.name}")
        except OSError:
            continue
    return found


def test_every_kind_of_machine_boots_and_an_ordinary_user_works_in_it(machine: Machine, init: Init) -> None:
    assert machine.run(["cat", "/proc/1/comm"]).stdout.strip() == PID_ONE[init]
    person = machine.add_account("alice", password="secret", groups=["manylab"])
    done = machine.run("id -un; id -Gn; pwd; echo $HOME; echo oops >&2; exit 3", user="alice", check=False)
    assert done.stdout.split() == ["alice", "alice", "manylab", "/home/alice", "/home/alice"]
    assert (done.stderr, done.returncode, person.uid) == ("oops\n", 3, 1000)
    assert machine.run(["hostname"]).stdout.strip() == machine.name
    assert not Path("/home/alice").exists(), "the host is another machine"


def test_a_machine_without_init_system_has_nothing_running_and_reaps_orphans(bookworm: Machine) -> None:
    bookworm.run("(sleep 0.1 &) ; exit 0")
    wait_until(lambda: len(bookworm.processes()) == 1, 60, lambda: str(bookworm.processes()))
    assert bookworm.processes()[0].argv == ("sleep", "infinity")


def test_input_reaches_the_command_and_a_failure_shows_its_output(bookworm: Machine) -> None:
    assert bookworm.run(["sort"], input="b\na\n").stdout == "a\nb\n"
    with pytest.raises(CommandFailed, match="no way"):
        bookworm.run("echo no way; false")


def test_a_command_that_takes_too_long_is_killed_with_its_children(bookworm: Machine) -> None:
    started = time.monotonic()
    with pytest.raises(TimedOut):
        bookworm.run("sleep 71 & sleep 72 & wait", timeout=0.5)
    assert time.monotonic() - started < 60  # not 71
    wait_until(lambda: len(bookworm.processes()) == 1, 60, lambda: str(bookworm.processes()))


def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_its_starter(bookworm: Machine) -> None:
    bookworm.run("setsid sleep 73 & echo started", timeout=60)
    wait_until(lambda: ("sleep", "73") in [process.argv for process in bookworm.processes()], 60, "the daemon")


def test_control_c_and_hang_up_reach_the_command_through_its_terminal(bookworm: Machine) -> None:
    bookworm.add_account("alice")
    script = "trap 'echo got INT; exit 7' INT; trap 'touch ~/hung-up; exit 8' HUP; "
    script += "tty; while :; do sleep 0.1; done"
    with bookworm.popen(script, user="alice", tty=True) as running:
        running.wait_for_output(r"^/dev/pts/\d+")
        running.send("\x03")
        running.wait_for_output("got INT")
        assert running.wait(10) == 7
    with bookworm.popen(script, user="alice", tty=True) as running:
        running.wait_for_output(r"^/dev/pts/\d+")
        running.hang_up()
        assert running.wait(10) == 8
    assert bookworm.exists("/home/alice/hung-up")


def test_a_signal_reaches_the_command_itself(bookworm: Machine) -> None:
    with bookworm.popen("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done") as running:
        running.wait_for_output("up")
        running.signal(signal.SIGTERM)
        assert running.wait(10) == 5
        assert "bye" in running.output()


def test_files_have_the_owner_and_mode_that_were_asked_for(bookworm: Machine) -> None:
    bookworm.add_account("alice")
    bookworm.write("/srv/new/secret", "hush", mode=0o600, owner="alice")
    assert bookworm.run(["stat", "-c", "%U %a", "/srv/new/secret"]).stdout == "alice 600\n"
    assert bookworm.read("/srv/new/secret") == "hush"
    assert not bookworm.exists("/srv/new/other")


def test_a_copied_work_tree_has_new_files_but_no_ignored_ones(bookworm: Machine, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "run me").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "run me").chmod(0o755)
    (tmp_path / "x.log").touch()
    bookworm.put_tree(tmp_path, "/srv/project")
    assert bookworm.run(["/srv/project/run me"]).stdout == "hello\n"
    assert bookworm.run(["ls", "-A", "/srv/project"]).stdout.split("\n") == [".gitignore", "run me", ""]


def test_files_in_different_folders_can_be_hard_links(bookworm: Machine) -> None:
    bookworm.run("mkdir -p /opt/a /root/.cache && echo x > /root/.cache/f && ln /root/.cache/f /opt/a/f")
    assert bookworm.run(["stat", "-c", "%h", "/opt/a/f"]).stdout == "2\n"


def test_machines_have_different_ports_and_may_have_no_network() -> None:
    with Machine(root("bookworm")) as one, Machine(root("bookworm"), network="private") as two:
        assert one.port != two.port
        interfaces = two.run(["cat", "/proc/net/dev"]).stdout
        assert "lo:" in interfaces and "eth" not in interfaces


def test_nothing_is_left_of_a_machine_that_was_closed(suite: str, init: Init) -> None:
    with pytest.raises(ZeroDivisionError), Machine(root_for(suite, init), tmpfs="200M") as machine:
        machine.run("setsid sleep 74 & setsid unshare --mount --pid --fork sleep 75 &")
        assert traces(machine.name) != []
        _ = 1 / 0
    assert traces(machine.name) == []


HOLDER = """
import sys, time
from harness import Machine, root, sweep
with Machine(root("bookworm"), tmpfs="100M") as machine:
    machine.run("setsid sleep 76 &")
    print(machine.name, sweep.ensure_janitor(), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("janitor_lives", [True, False])
def test_nothing_is_left_when_the_process_that_made_a_machine_is_killed(janitor_lives: bool) -> None:
    root("bookworm")
    here = Path(__file__).parent
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=here, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        name, janitor = owner.stdout.readline().split()
        assert traces(name) != []
        if not janitor_lives:
            os.kill(int(janitor), signal.SIGKILL)
        owner.kill()
    if not janitor_lives:
        sweep.sweep()
    wait_until(lambda: not traces(name), 60, lambda: str(traces(name)))
    assert owners.is_abandoned(name)


def test_systemd_ends_a_service_that_takes_more_memory_than_it_may(systemd: Machine) -> None:
    eat = "head -c 60M /dev/zero | tail"  # tail keeps a line, and this is one line of 60 MB
    ask = ["systemd-run", "--quiet", "--wait", "--property=MemoryMax=20M"]
    assert systemd.run([*ask, "sh", "-c", eat], check=False).returncode != 0
    assert systemd.run([*ask, "true"]).returncode == 0
    assert systemd.run(["systemd-run", "--quiet", "--wait", "sh", "-c", eat]).returncode == 0


def network_interfaces() -> dict[str, str]:
    """The flags of each, of which the last bit says that it is up."""
    return {path.name: (path / "flags").read_text() for path in Path("/sys/class/net").iterdir()}


def test_root_in_a_machine_has_no_power_over_what_it_shares_with_the_host(suite: str, init: Init) -> None:
    net_admin, sys_module, sys_time = 1 << 12, 1 << 16, 1 << 25  # linux/capability.h
    before = network_interfaces()
    with Machine(root_for(suite, init)) as machine:
        for process in ("1", "self"):
            line = machine.run(["grep", "CapBnd", f"/proc/{process}/status"]).stdout
            assert int(line.split()[1], 16) & (net_admin | sys_module | sys_time) == 0
        assert machine.run("echo 1 > /proc/sys/kernel/sysrq", check=False).returncode != 0
        machine.power_off()
    assert network_interfaces() == before, "a machine that halts must not take the host's network with it"


UNIT = """
[Service]
ExecStart=/bin/sleep 77
[Install]
WantedBy=multi-user.target
"""
SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides: mark
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
case $1 in start) setsid sleep 77 >/dev/null 2>&1 & ;; stop) echo stopped >> /var/log/mark ;; esac
"""


def test_a_service_enabled_under_systemd_runs_after_a_reboot(systemd: Machine) -> None:
    systemd.write("/etc/systemd/system/mark.service", UNIT)
    systemd.run("systemctl daemon-reload && systemctl enable mark")
    before = systemd.read("/proc/sys/kernel/random/boot_id"), systemd.read("/etc/machine-id")
    systemd.reboot()
    assert ("/bin/sleep", "77") in [process.argv for process in systemd.processes()]
    assert systemd.read("/etc/machine-id") == before[1]


def test_a_service_enabled_under_sysvinit_is_stopped_and_runs_after_a_reboot(sysv: Machine) -> None:
    sysv.write("/etc/init.d/mark", SCRIPT, mode=0o755)
    sysv.run("update-rc.d mark defaults")
    sysv.reboot()
    assert ("sleep", "77") in [process.argv for process in sysv.processes()]
    sysv.reboot()
    assert sysv.read("/var/log/mark") == "stopped\nstopped\n"


def test_a_snapshot_starts_other_machines_and_replaces_the_one_with_the_old_key(bookworm: Machine) -> None:
    base = bookworm.root
    bookworm.run("echo one > /srv/site; rm /etc/issue; rm -r /usr/share/doc")
    first = bookworm.snapshot("harness-test", "key 1")
    assert bookworm.read("/srv/site") == "one\n", "the machine goes on"
    with Machine(first) as other:
        assert other.read("/srv/site") == "one\n"
        assert not other.exists("/etc/issue")
        other.run("echo two > /srv/site; mkdir /usr/share/doc")
        other.snapshot("harness-test-over", "key")
        assert other.run(["ls", "-A", "/usr/share/doc"]).stdout == ""
    assert bookworm.read("/srv/site") == "one\n"
    assert layers.find("harness-test", "key 1", base) == first

    second = installed("harness-test", "key 2", base, lambda machine: machine.run("echo three > /srv/site"))
    assert layers.find("harness-test", "key 1", base) == first, "still in use by the machine of this test"
    bookworm.close()
    layers.prune("harness-test", keep=second.layers[-1])
    assert layers.find("harness-test", "key 1", base) is None
    layers.prune("harness-test-over", keep=None)
    assert installed("harness-test", "key 2", base, lambda machine: machine.run("false")) == second
    with Machine(base) as machine:
        assert not machine.exists("/srv/site")
    layers.prune("harness-test", keep=None)


def test_commands_get_what_the_host_needs_to_reach_registries() -> None:
    useful = {"HTTPS_PROXY": "http://proxy:3128", "UV_INDEX_URL": "https://registry/"}
    useless = {"UV_CACHE_DIR": "/root/cache", "SOMETHING": "else"}
    assert host.passed_environment(useful | useless) == useful
    with Machine(root("bookworm"), env={"MORE": "1"}) as machine:
        assert machine.run('echo "$MORE"').stdout == "1\n"
        if "SSL_CERT_FILE" in machine.env:
            assert machine.run('head -1 "$SSL_CERT_FILE"').stdout.startswith("-----BEGIN")
