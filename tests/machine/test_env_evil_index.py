"""An index that nobody should trust: whatever it sends, the environment in use works, nothing of manylab.toml changes,
and nothing is written anywhere but where environments are.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.build import SMALL
from support.evil_index import EvilIndex, bad_wheel
from support.looking import ask, changed, in_memory, leftovers, planned, refusal, tree
from support.site import Site
from support.wheels import wheel

pytestmark = pytest.mark.soak

COURSE = "/opt/manylab/envs/course"
CONFIG_FILE = "/etc/manylab/manylab.toml"
# What no package has any business with; what changes by itself is left out.
ELSEWHERE = ("/etc", "/usr", "/bin", "/root", "/home", "/srv", "/opt/manylab/etc", "/opt/manylab/share", "/var/tmp")
KERNEL = "/opt/manylab/share/jupyter/kernels/manylab-course"
OWN = {CONFIG_FILE, "/etc/manylab", KERNEL, f"{KERNEL}/kernel.json"}

EVIL = {
    "climber": {"../../../../../../../../etc/cron.d/climber": b"* * * * * root id\n"},
    "rooted": {"/etc/cron.d/rooted": b"* * * * * root id\n"},
    "scripted": {"scripted-1.0.data/scripts/../../../../../../../../etc/cron.d/scripted": b"#!python\n"},
    "headed": {"headed-1.0.data/data/../../../../../../etc/cron.d/headed": b"* * * * * root id\n"},
    "pointed": {
        "pointed.py": b"def main(): pass\n",
        "pointed-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../../../../etc/cron.d/pointed = pointed:main\n",
    },
    "taker": {"taker-1.0.data/scripts/python": b"#!/bin/sh\nid > /var/tmp/taken\n"},
    "marker": {"marker-1.0.data/data/manylab-environment.json": b"{}"},
    "nested": {"nested.py": b"", "nested-1.0.data/data/lib/python3.11/site-packages/_virtualenv.py": b"import os\n"},
}


def source(folder: Path, name: str, setup: str) -> Path:
    """A package as source alone, with that setup.py."""
    path = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        for member, text in {"setup.py": setup, "PKG-INFO": info}.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{member}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Iterator[EvilIndex]:
    folder = tmp_path_factory.mktemp("evil")
    served = EvilIndex()
    for name, members in EVIL.items():
        served.add(bad_wheel(folder, name, members))
    served.add(bad_wheel(folder, "linked", {}, links={"linked": "/etc"}))
    served.add(wheel(folder, "nohash", "1.0", {"nohash.py": "number = 1\n"}), "none")
    for manner in ("wrong", "cut", "endless", "deaf"):
        served.add(wheel(folder, f"is{manner}", "1.0", {f"is{manner}.py": "x = 1\n" * 20000}), manner)
    # Ten gigabytes of zeros in ten megabytes.
    bomb = bad_wheel(folder, "bomb", {}, zeros=[f"bomb/{number}" for number in range(10, 50)])
    served.add(bomb)
    served.add(source(folder, "sourced", "import os; open('/var/tmp/ran', 'w').write(str(os.getuid()))\n"))
    honest = "import os\nfrom setuptools import setup\nopen('honest.py', 'w').write(f'uid = {os.getuid()}\\n')\n"
    served.add(source(folder, "honest", honest + "setup(name='honest', version='1.0', py_modules=['honest'])\n"))
    with served.serving():
        yield served


@pytest.fixture(scope="module")
def site(index) -> Iterator[Site]:
    """Up in the foreground, with a small environment `course`; uv looks into the evil index first."""
    network = {"UV_INDEX": index.url, "UV_HTTP_TIMEOUT": "3"}
    config = f'# ours\n{SMALL}[envs.course]\npackages = ["ipykernel"]\n'
    with Site("bookworm", config=config, machine=in_memory("bookworm", small=True, env=network)) as one, one.up():
        yield one


def state(site: Site) -> tuple[str, str]:
    return site.machine.run(["readlink", f"{COURSE}/current"]).stdout, site.machine.read(CONFIG_FILE)


def untouched(site: Site, name: str) -> dict[str, object]:
    """The error of asking for the package; nothing anywhere is different afterwards."""
    before, files = state(site), tree(site.machine, *ELSEWHERE)
    error = refusal(site, "env", "add", "course", name, timeout=200)
    assert state(site) == before
    unharmed(site, files)
    return error


def unharmed(site: Site, files: dict[str, str]) -> None:
    """Nothing but the environments and what names them is different, and the one in use works."""
    now = tree(site.machine, *ELSEWHERE)
    assert [path for path in changed(files, now) if path not in OWN] == []
    assert leftovers(site.machine) == []
    assert site.machine.run(f"{COURSE}/current/bin/python -I -c 'import ipykernel; print(6 * 7)'").stdout == "42\n"


@pytest.mark.parametrize("name", ["pointed", "taker", "marker", "nested"])
def test_a_package_that_takes_what_is_not_its_own_is_refused(site, name):
    error = untouched(site, name)
    assert error["code"] == "E-ENV" and name in str(error["message"]), error


@pytest.mark.parametrize("name", ["climber", "rooted", "scripted", "headed", "linked"])
def test_a_package_cannot_write_outside_of_its_environment(site, name):
    """uv leaves such files out (and a link becomes a file), so the rest of the package is taken."""
    files = tree(site.machine, *ELSEWHERE)
    site.manylab("env", "add", "course", name, check=False)
    unharmed(site, files)
    found = site.machine.run(f"find {COURSE}/current/lib -name linked -type l")
    assert found.stdout == ""
    site.manylab("env", "remove", "course", name, check=False)


@pytest.mark.parametrize(
    ("name", "code"), [("iswrong", "E-ENV"), ("iscut", "E-ENV"), ("isdeaf", "E-DOWNLOAD"), ("sourced", "E-ENV")]
)
def test_an_index_that_lies_cuts_off_or_says_nothing_changes_nothing(site, name, code):
    error = untouched(site, name)
    assert error["code"] == code, error
    assert not site.machine.exists("/var/tmp/ran")


def test_a_source_is_built_when_asked_for_by_an_account_that_owns_nothing(site):
    assert "--source" in untouched(site, "honest")["hint"]
    ask(site, "env", "add", "course", "honest", "--source")
    uid = site.machine.run(f"{COURSE}/current/bin/python -I -c 'import honest; print(honest.uid)'").stdout
    assert uid == site.machine.run(["id", "-u", "manylab-build"]).stdout != "0\n"
    assert 'source = ["honest"]' in site.machine.read(CONFIG_FILE)
    # The lock names the wheel that was built; made again, it is that one.
    broken = site.machine.run(f"readlink -f {COURSE}/current").stdout.strip()
    site.machine.run(f"rm {broken}/manylab-environment.json")
    ask(site, "apply")
    assert planned(site) == {} and leftovers(site.machine) == [] and not site.machine.exists("/opt/manylab/building")
    ask(site, "env", "remove", "course", "honest")
    assert "honest" not in site.machine.read(CONFIG_FILE)
    error = refusal(site, "env", "add", "course", "sourced", "--source")
    assert "sourced 1.0 could not be built" in error["message"], error
    assert not site.machine.exists("/var/tmp/ran")


@pytest.mark.parametrize("name", ["isendless", "bomb"])
def test_what_would_fill_the_disk_is_stopped_before_it_does(site, name):
    error = untouched(site, name)
    assert error["code"] == "E-DISK-FULL", error
    free = int(site.machine.run("df --output=avail -B1 /opt | tail -1").stdout)
    assert free > 100 << 20
    assert planned(site) == {}


def test_a_page_without_hashes_gives_a_lock_with_hashes(site):
    ask(site, "env", "add", "course", "nohash")
    lock = site.machine.read(f"{COURSE}/current/manylab-lock.txt")
    part = lock[lock.index("nohash==") :]
    assert "--hash=sha256:" in part.splitlines()[1]


def test_another_file_under_the_name_of_a_locked_one_is_refused(site, index, tmp_path):
    other = wheel(tmp_path, "nohash", "1.0", {"nohash.py": "number = 2\n"})
    ask(site, "env", "remove", "course", "nohash")
    ask(site, "env", "add", "course", "nohash")  # the lock that was kept: no download, the same generation
    index.files[other.name] = other.read_bytes()
    site.machine.run("rm -rf /opt/manylab/cache/uv")
    broken = site.machine.run(f"readlink -f {COURSE}/current").stdout.strip()
    site.machine.run(f"rm {broken}/manylab-environment.json")  # so that it has to be made again
    error = refusal(site, "apply")
    assert "nohash" in error["message"], error
    assert site.answers()
