"""How ready sites are made, so that the gigabyte of packages is fetched once for each Debian and not for each change.

Layers over a bare root, each made on a real machine and kept by the harness until its key changes:

1. `packages`: `./manylab apply` from nothing, as root; key: the locks and the launcher. Then the site is taken away
   again; what was downloaded stays, and the hub's and the server's environment, which nothing uses.
2. `init`: systemd or sysvinit, added by apt.
3. `site`: `./manylab apply` with today's code; key: all of src/manylab. Byte code is taken from those environments,
   as in an upgrade, and then they go.
4. `small`: the same with the configuration SMALL, for tests that are not about what the default environment holds.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from harness import Init, Machine, Root, host, installed, layers, root_for
from harness.roots import ADD_INIT, PACKAGES

PROJECT = Path(__file__).resolve().parents[2]
CHECKOUT = "/srv/manylab"
# Two checkouts on one host do not delete each other's sites.
OURS = hashlib.sha256(str(PROJECT).encode()).hexdigest()[:4]
# Whoever starts with nothing waits for the registries.
FIRST_TIME = 1800.0
# The least that a kernel runs on.
SMALL = '[envs.default]\npackages = ["ipykernel"]\n'
STRIP = f"""
set -e
cd /opt/manylab/envs
rm hub/current server/current
rm -rf /var/lib/manylab /etc/manylab /run/manylab /var/log/manylab {CHECKOUT}
rm -f /etc/pam.d/manylab /etc/profile.d/manylab.sh /usr/local/bin/manylab
for name in $(grep -o '^manylab[^:]*' /etc/passwd); do userdel "$name"; done
for name in $(grep -o '^manylab[^:]*' /etc/group); do groupdel "$name"; done
"""
# Not in the key of a layer: those that were made before had none of it.
STRIP_LOGINS = """
rm -rf /etc/fish/conf.d/manylab.fish /etc/csh/login.d/manylab /etc/systemd/user-environment-generators/60-manylab
rm -rf /usr/local/share/jupyter /usr/local/share/fonts
rmdir /etc/fish/conf.d /etc/fish /etc/csh/login.d /etc/csh /etc/systemd/user-environment-generators 2>/dev/null || true
"""
# Of each environment's generations, all but the one in use.
FORGET = """
set -e
cd /opt/manylab/envs
for folder in hub/*/ server/*/; do
    [ -L "${folder%/}" ] || [ "${folder%/}" -ef "${folder%%/*}/current" ] || rm -r "$folder"
done
"""


def digest(*paths: Path) -> str:
    """Names the contents of files and folders."""
    total = hashlib.sha256()
    for path in paths:
        files = (
            sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
            if path.is_dir()
            else [path]
        )
        for file in files:
            total.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes() + b"\0")
    return total.hexdigest()


def put_project(machine: Machine) -> None:
    """The checkout that is being tested, as it is now, to /srv/manylab."""
    machine.run(["rm", "-rf", CHECKOUT])
    machine.put_tree(PROJECT, CHECKOUT)


def apply(machine: Machine) -> None:
    """`./manylab apply` of the project that is being tested, as root."""
    put_project(machine)
    machine.run([f"{CHECKOUT}/manylab", "apply"], timeout=FIRST_TIME, cwd="/")


def site_root(suite: str, init: Init = "none") -> Root:
    """A root on which the site of this checkout stands, with an empty configuration; nothing runs."""

    def make(machine: Machine) -> None:
        apply(machine)
        machine.run(FORGET)

    return installed(f"site-{suite}-{init}-{OURS}", _code() + FORGET, with_packages(suite, init), make, init=init)


def small_root(suite: str, init: Init = "none") -> Root:
    """The same with SMALL as its configuration, whose environment nobody has to build any more."""

    def apply_small(machine: Machine) -> None:
        machine.write("/etc/manylab/manylab.toml", SMALL, mode=0o600)
        machine.run([f"{CHECKOUT}/manylab", "apply"], timeout=FIRST_TIME, cwd="/")

    return installed(f"small-{suite}-{init}-{OURS}", _code() + SMALL, site_root(suite, init), apply_small)


def _code() -> str:
    return digest(PROJECT / "src" / "manylab", PROJECT / "manylab")


def _fetched(suite: str) -> tuple[str, str]:
    """Name and key of the layer with everything that is downloaded."""
    locks = PROJECT / "src" / "manylab" / "locks"
    files = sorted(path for path in (*locks.glob("*.txt"), *locks.glob("*.json")) if path.name != "test.txt")
    return f"packages-{suite}", digest(*files, PROJECT / "manylab") + STRIP


def with_packages(suite: str, init: Init = "none") -> Root:
    """A root where everything that a site downloads is there already, and no site."""

    def fetch(machine: Machine) -> None:
        apply(machine)
        machine.run(STRIP + STRIP_LOGINS)

    filled = installed(*_fetched(suite), root_for(suite, "none"), fetch)
    if init == "none":
        return filled
    packages = " ".join(PACKAGES[init])

    def add_init(machine: Machine) -> None:
        machine.run(ADD_INIT.format(packages=packages), timeout=900)

    with_init = installed(f"packages-{suite}-{init}", ADD_INIT + packages, filled, add_init)
    return Root(with_init.name, init, with_init.layers)


@contextlib.contextmanager
def bare(suite: str) -> Iterator[Machine]:
    """A bare root with the checkout in /srv/manylab, for a test that makes a site on it; only one at a time.

    When it ends well, what it has downloaded is what `with_packages` would have fetched, and becomes that layer.
    """
    name, key = _fetched(suite)
    below = root_for(suite, "none")
    with host.locked(f"build-{name}"), Machine(below) as machine:
        put_project(machine)
        yield machine
        if layers.find(name, key, below) is None:
            machine.run(STRIP + STRIP_LOGINS)
            machine.freeze(name, key)
