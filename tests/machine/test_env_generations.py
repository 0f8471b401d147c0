"""Environments on a real machine: tried before they are used, gone back from, removed when nobody needs them; whatever
interrupts a build, the one in use works and the next run cleans up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from support.build import SMALL
from support.looking import ask, in_memory, leftovers, planned, refusal, tree
from support.site import Site
from support.wheels import wheel

COURSE = "/opt/manylab/envs/course"
WHEELS = "/srv/wheels"
CONFIG_FILE = "/etc/manylab/manylab.toml"
# Seconds of a build after which it is killed; it takes some five to ten.
MOMENTS = [random.Random(seed).uniform(0.3, 6.0) for seed in range(5)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """Up in the foreground, with a small environment `course` and wheels of our own."""
    with Site("bookworm", config=f"# ours\n{SMALL}", machine=in_memory("bookworm", small=True)) as one, one.up():
        folder = tmp_path_factory.mktemp("wheels")
        one.machine.run(["mkdir", "-p", WHEELS])
        wheel(folder, "broken", "1.0", {"broken.py": "import no_such_library\n"})
        wheel(
            folder,
            "killer",
            "1.0",
            {"killer.pth": "import os, sys; 'ipykernel_launcher' in sys.orig_argv and os._exit(3)\n"},
        )
        wheel(folder, "evil", "1.0", {"evil.py": "", "evil-1.0.data/data/pyvenv.cfg": "home = /evil\n"})
        who = "import os\nopen('/var/tmp/who', 'a').write(f'{os.getuid()} ')\n"
        wheel(folder, "hook", "1.0", {"hook.pth": "import hook\n", "hook.py": who})
        for number in range(10):
            wheel(folder, "lesson", f"1.{number}", {"lesson.py": f"number = {number}\n"})
        for path in folder.glob("*.whl"):
            one.machine.write(f"{WHEELS}/{path.name}", path.read_bytes())
        ask(one, "env", "create", "course", "ipykernel")
        yield one


def local(name: str, version: str = "1.0") -> str:
    """A requirement of one of our own wheels."""
    return f"{name} @ file://{WHEELS}/{name}-{version}-py3-none-any.whl"


def current(site: Site) -> str:
    return site.machine.run(["readlink", f"{COURSE}/current"]).stdout.strip()


def state(site: Site) -> tuple[str, str, dict[str, str]]:
    """What a request that is refused must leave as it was."""
    kept = tree(site.machine, "/var/lib/manylab/locks", COURSE, "/var/lib/manylab/generations")
    return current(site), site.machine.read(CONFIG_FILE), kept


@pytest.mark.parametrize(
    ("package", "said"),
    [("broken", "broken cannot be imported"), ("killer", "kernel"), ("evil", "evil 1.0 brings pyvenv.cfg")],
)
def test_what_does_not_work_is_not_switched_to(site, package, said):
    before = state(site)
    error = refusal(site, "env", "add", "course", local(package))
    assert error["code"] == "E-ENV" and said in error["message"], error
    after = state(site)
    assert after[:2] == before[:2] and after[2].keys() == before[2].keys()
    assert leftovers(site.machine) == []
    assert planned(site) == {}


def test_no_code_of_a_package_runs_as_root(site):
    ask(site, "env", "add", "course", local("hook"))
    assert ask(site, "env", "show", "course")["notes"] == ["hook runs code at every start of Python (hook.pth)"]
    # In the cage /var/tmp is another one; the kernels' nursery, which is not root, imports people's packages here.
    assert "0" not in site.machine.run("cat /var/tmp/who 2>/dev/null", check=False).stdout.split()
    ask(site, "env", "remove", "course", "hook")


def test_a_dry_run_says_the_difference_and_changes_nothing(site):
    before = state(site)
    found = ask(site, "env", "add", "course", "iniconfig", "--dry-run")
    assert [(one["name"], one["kind"]) for one in found["packages"]] == [("iniconfig", "added")]
    assert ask(site, "env", "build", "course", "--upgrade", "--dry-run")["dry_run"]
    assert state(site) == before


def test_going_back_restores_what_was_asked_for_and_what_it_was(site):
    ask(site, "env", "add", "course", "iniconfig==2.0.0")
    first, text = current(site), site.machine.read(CONFIG_FILE)
    moved = ask(site, "env", "add", "course", "iniconfig<2")["packages"]
    assert [(one["name"], one["kind"]) for one in moved] == [("iniconfig", "down")]
    found = ask(site, "env", "rollback", "course")
    assert current(site) == first
    assert site.machine.read(CONFIG_FILE) == text
    assert [(one["name"], one["after"]) for one in found["packages"]] == [("iniconfig", "2.0.0")]
    assert planned(site) == {}
    print(f"env rollback took {found['seconds']} s")
    rows = ask(site, "env", "history", "course")["generations"]
    assert [row["current"] for row in rows if row["number"] == found["number"]] == [True]
    assert [row["number"] for row in rows] == sorted(row["number"] for row in rows)
    assert refusal(site, "env", "rollback", "course", "999")["code"] == "E-NOT-FOUND"
    # What was rejected is not gone back to.
    ask(site, "env", "add", "course", "iniconfig<1.1.1")
    ask(site, "env", "rollback", "course")
    assert current(site) == first
    hint = refusal(site, "env", "add", "cuorse", "iniconfig")["hint"]
    assert "did you mean 'course'?" in hint


def test_a_generation_that_a_process_uses_stays_until_it_ends(site):
    used = current(site)
    wait = "import time, zmq; print('ready', flush=True); time.sleep(600)"
    with site.machine.popen([f"{COURSE}/{used}/bin/python", "-c", wait], cwd="/") as running:
        site.manylab("config", "set", "env.keep", "1")
        for number in range(3):
            ask(site, "env", "add", "course", local("lesson", f"1.{number}"))
        ask(site, "env", "gc")
        rows = {row["generation"]: row for row in ask(site, "env", "history", "course")["generations"]}
        assert len(rows[used]["processes"]) >= 1
        running.signal(9)
        running.wait(20)
    assert used in [one["generation"] for one in ask(site, "env", "gc", "--dry-run")["removed"]]
    assert ask(site, "env", "gc")["bytes"] >= 0
    assert used not in [row["generation"] for row in ask(site, "env", "history", "course")["generations"]]
    site.manylab("config", "unset", "env.keep")
    assert leftovers(site.machine) == []


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_build_that_is_killed_leaves_the_one_in_use_and_the_next_run_cleans_up(site, seconds):
    before, text = current(site), site.machine.read(CONFIG_FILE)
    wish = f"iniconfig=={'2.0.0' if 'iniconfig<2' in text else '1.1.1'}"
    with site.machine.popen(["/srv/manylab/manylab", "env", "add", "course", wish], cwd="/") as running:
        time.sleep(seconds)  # the moment is what is tested
        running.signal(9)
        running.wait(20)
    now = current(site)
    runs = f"{COURSE}/{now}/bin/python -I -c 'import ipykernel; print(6 * 7)'"
    assert site.machine.run(runs).stdout == "42\n"
    if now == before:
        assert site.machine.read(CONFIG_FILE) == text
    site.manylab("apply")
    assert leftovers(site.machine) == []
    assert planned(site) == {}
    assert site.answers()


def test_ten_generations_cost_little_more_than_one(site):
    def used() -> int:
        return int(site.machine.run(f"du -s --block-size=1 {COURSE} | cut -f1").stdout)

    one = used() / len(ask(site, "env", "history", "course")["generations"])
    site.manylab("config", "set", "env.keep", "20")
    before = used()
    for number in range(10):
        ask(site, "env", "add", "course", local("lesson", f"1.{number}"))
    grown = used() - before
    rows = ask(site, "env", "history", "course")["generations"]
    print(f"ten more generations: {grown / 1e6:.1f} MB, the whole {rows[-1]['bytes'] / 1e6:.1f} MB")
    assert len(rows) >= 10
    assert grown < 10 * 0.05 * rows[-1]["bytes"], (grown, one)
    site.manylab("config", "unset", "env.keep")
    ask(site, "env", "gc")
    assert len(ask(site, "env", "history", "course")["generations"]) <= 5


def test_whatever_umask_root_has_everybody_can_read_a_new_generation(site):
    site.machine.run(f"umask 077; exec /srv/manylab/manylab env add course '{local('lesson', '1.4')}'", timeout=300)
    site.machine.run("umask 077; exec /srv/manylab/manylab env create fresh ipykernel", timeout=300)
    folders = f"{COURSE}/current/ /opt/manylab/envs/fresh/current/ /opt/manylab/share/jupyter/kernels"
    found = site.machine.run(f"find {folders} ! -perm -o=r ! -type l -o -type d ! -perm -o=x")
    assert found.stdout == ""
    writable = site.machine.run(f"find {folders} -perm /022 ! -type l")
    assert writable.stdout == ""


def test_of_two_builds_at_once_one_waits_and_both_are_made(site):
    words = ["/srv/manylab/manylab", "env", "add"]
    with (
        site.machine.popen([*words, "course", local("lesson", "1.5")], cwd="/") as one,
        site.machine.popen([*words, "--new", "beside", local("lesson", "1.6")], cwd="/") as other,
    ):
        assert (one.wait(300), other.wait(300)) == (0, 0), one.output() + other.output()
    assert ask(site, "env", "show", "course")["packages"]["lesson"] == "1.5"
    assert ask(site, "env", "show", "beside")["packages"]["lesson"] == "1.6"
    assert planned(site) == {}


def test_on_a_full_disk_nothing_is_lost(site):
    before = state(site)
    # Something else than there is now: which build before this was killed too late is a matter of the machine.
    other = "iniconfig<2" if "iniconfig==2.0.0" in before[1] else "iniconfig==2.0.0"
    free = int(site.machine.run("df --output=avail -B1 /opt | tail -1").stdout)
    site.machine.run(["fallocate", "-l", str(free - (20 << 20)), "/opt/filler"])
    try:
        error = refusal(site, "env", "add", "course", other)
        assert error["code"] == "E-DISK-FULL", error
        assert state(site)[:2] == before[:2]
        assert site.machine.run(f"{COURSE}/current/bin/python -I -c 'import ipykernel; print(42)'").stdout == "42\n"
        assert site.answers()
    finally:
        site.machine.run(["rm", "-f", "/opt/filler"])
    ask(site, "env", "add", "course", other)
    assert leftovers(site.machine) == []


def test_when_the_network_is_lost_the_one_in_use_stays_and_the_next_run_goes_on(site):
    before = state(site)
    # An address that nobody answers at, as when a cable was pulled.
    gone = "env UV_DEFAULT_INDEX=http://127.0.0.1:9/simple UV_HTTP_TIMEOUT=2"
    done = site.machine.run(
        f"{gone} /srv/manylab/manylab env add course more-itertools --json", check=False, timeout=300
    )
    assert done.returncode == 1 and '"E-DOWNLOAD"' in done.stdout, done.stdout
    assert state(site)[:2] == before[:2]
    ask(site, "env", "add", "course", "more-itertools")
    assert planned(site) == {}
