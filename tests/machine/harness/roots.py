"""The roots that machines start from: fresh Debian, made once and cached.

"bookworm" and "trixie" are debootstrap's minbase: no Python, no systemd, no certificates. The others have an
init more, added by apt inside a machine as anybody would. Delete the cache folder to have newer packages.
"""

from __future__ import annotations

import os
import subprocess

from . import host, layers
from .errors import HarnessError
from .layers import Init, Root
from .machine import Machine

SUITES = ("bookworm", "trixie")
INITS: tuple[Init, ...] = ("none", "sysv", "systemd")
PACKAGES: dict[Init, list[str]] = {
    "systemd": ["systemd", "systemd-sysv", "dbus"],
    "sysv": ["sysvinit-core", "procps"],
}
ADD_INIT = """
set -e
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d   # start no service while installing
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
apt-get install -y -qq --no-install-recommends {packages}
apt-get clean
rm /usr/sbin/policy-rc.d
# The network is the host's (and see Inside.confine).
[ ! -e /etc/default/halt ] || sed -i 's/^NETDOWN=.*/NETDOWN=no/' /etc/default/halt
# No terminals here: init would start a getty again and again.
[ ! -e /etc/inittab ] || sed -i 's/^[^#].*getty/#&/' /etc/inittab
# After the scripts of the runlevel: which PID 1 has run them (see Machine._is_booted).
[ ! -e /etc/inittab ] || printf '%s\\n' 'mb:2345:once:/bin/cut -d" " -f22 /proc/1/stat > /run/booted' >> /etc/inittab
"""


def root(name: str) -> Root:
    """The root "SUITE" or "SUITE+INIT" (as bookworm, trixie+systemd, bookworm+sysv), built if it is not in
    the cache.

    Takes one or two minutes the first time; a second process waits for the first. Raises HarnessError with
    the end of the output when building fails, Unavailable when this host has no debootstrap.
    """
    for suite in SUITES:
        for init in INITS:
            if name == _name(suite, init):
                return root_for(suite, init)
    raise HarnessError(f"no such root: {name}")


def root_for(suite: str, init: Init) -> Root:
    """The root of a suite whose machines boot that init; see `root`."""
    if init == "none":
        return _base(suite)
    name = _name(suite, init)
    packages = " ".join(PACKAGES[init])
    below = _base(suite)
    with host.locked(f"build-{name}"):
        key = ADD_INIT + packages
        if (found := layers.find(name, key, below)) is not None:
            return found
        with Machine(below, init="none") as machine:
            machine.run(ADD_INIT.format(packages=packages), timeout=900)
            return machine.freeze(name, key, init=init)


def _name(suite: str, init: Init) -> str:
    return suite if init == "none" else f"{suite}+{init}"


def _base(suite: str) -> Root:
    mirror = os.environ.get("MANYLAB_TEST_MIRROR")  # otherwise debootstrap's own default
    key = f"minbase {mirror}"
    with host.locked(f"build-{suite}"):
        if (found := layers.find(suite, key, None)) is not None:
            return found
        with layers.scratch() as folder:
            tree = folder / "tree"
            # In namespaces of its own: its mounts and processes end with it, and it ends with us.
            argv = [host.tool("setpriv"), "--pdeathsig", "KILL", host.tool("unshare"), "--mount", "--pid"]
            argv += ["--fork", "--kill-child", "--mount-proc", host.tool("debootstrap"), "--variant=minbase"]
            argv += [suite, str(tree), *([mirror] if mirror else [])]
            env = {**os.environ, "PATH": host.SYSTEM_PATH}
            done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=1800, check=False)
            if done.returncode:
                end = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
                raise HarnessError(f"debootstrap {suite} failed:\n{end}")
            return layers.store(suite, key, None, "none", tree)
