"""Real throwaway Debian machines for tests, on any Debian host, for root.

    from harness import Machine, installed, root, wait_until

    def test_up_and_ctrl_c(project):
        with Machine(root("bookworm+systemd")) as machine:  # or root("trixie"), root("bookworm+sysv")
            machine.add_account("alice", password="secret", groups=["manylab"])
            machine.put_tree(project, "/srv/manylab")
            assert machine.run(["id", "-un"], user="alice").stdout == "alice\\n"
            with machine.popen(["./manylab", "up"], cwd="/srv/manylab", tty=True) as up:
                up.wait_for_output(r"http://\\S+", timeout=300)
                up.send("\\x03")
                assert up.wait(timeout=30) == 0
            assert [p for p in machine.processes() if p.uid >= 1000] == []

A site that takes minutes to install is made once, and starts in a second from then on:

    site = installed("site", key=hash_of_lock, over=root("bookworm"), install=install_the_site)
    with Machine(site) as machine: ...

Machines share the host's network, so that registries can be reached: listen on `machine.port`, which is free.
`machine.env` is what commands get to reach the registries: the host's proxy, index and certificate variables.
Snapshots, machines and roots are in $MANYLAB_TEST_CACHE (default /var/cache/manylab-tests).
A machine, its processes, mounts and control groups go when the `with` ends, or when this process ends in any
way.

Unlike real ones: kernel and cgroup version are the host's; /proc/sys and /sys are read-only; root has no
power over the clock, kernel modules and (with network="host") network interfaces.
"""

from .commands import Completed, Running
from .errors import CommandFailed, HarnessError, TimedOut, Unavailable
from .host import missing
from .inside import Person, Process
from .layers import Init, Root
from .machine import Machine, installed
from .polling import wait_until
from .roots import INITS, SUITES, root, root_for

__all__ = [
    "INITS",
    "SUITES",
    "CommandFailed",
    "Completed",
    "HarnessError",
    "Init",
    "Machine",
    "Person",
    "Process",
    "Root",
    "Running",
    "TimedOut",
    "Unavailable",
    "installed",
    "missing",
    "root",
    "root_for",
    "wait_until",
]
