"""`apply` that is killed, or comes twice at once: whole again afterwards, and never half a site in between."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.build import CHECKOUT, SMALL
from support.looking import ask, data_of, in_memory, leftovers, planned
from support.site import Site

KILLS = 12


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Installed under systemd, so that units and services are part of every change."""
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", "systemd", small=True)) as one:
        one.install()
        yield one


def change(site: Site, number: int) -> None:
    """A configuration that rewrites files, touches units, and adds an environment that has yet to be solved."""
    site.machine.run("rm -rf /opt/manylab/envs/tiny /var/lib/manylab/locks/tiny")
    base = f"/number-{number}"
    site.configure(
        f'[site]\nname = "Site {number}"\n[http]\nbase_url = "{base}"\n{SMALL}[envs.tiny]\npackages = ["ipykernel"]\n'
    )


def installers(site: Site) -> list[str]:
    """Every process of an apply that still runs."""
    lines = (" ".join(process.argv) for process in site.machine.processes())
    return [line for line in lines if "/uv " in line or "npm" in line or "manylab apply" in line]


def assert_no_half_is_in_use(site: Site) -> None:
    """Whatever was being done: what is read is whole, and what links point to is complete."""
    for name in ("hub", "warden", "services"):
        json.loads(site.machine.read(f"/var/lib/manylab/rendered/{name}.json"))
    site.machine.run("for link in /opt/manylab/envs/*/current; do test -e $link/manylab-environment.json; done")
    site.machine.run("/usr/local/bin/manylab history --json >/dev/null")


@pytest.mark.timeout(600)
def test_an_apply_that_is_killed_at_any_point_is_made_good_by_the_next(site, capsys):
    change(site, 0)
    began = time.monotonic()
    site.manylab("apply")
    whole = time.monotonic() - began
    landed = []
    for number in range(1, KILLS + 1):
        change(site, number)
        with site.machine.popen([f"{CHECKOUT}/manylab", "apply"], cwd="/") as running:
            # Evenly over the time that it takes, with some chance, so that every run tries other points.
            time.sleep(whole * (number - random.random()) / KILLS)
            if running.poll() is None:
                running.signal(signal.SIGKILL)
            else:
                whole *= 0.7  # it was quicker than the first, so later points would all be too late
            code = running.wait(30)
            said = running.output().splitlines()
            landed.append(said[-1] if said else "(nothing said yet)")
        assert code in (0, -signal.SIGKILL, 137), running.output()
        wait_until(lambda: not installers(site), 60, lambda: f"the end of {installers(site)}")
        assert_no_half_is_in_use(site)
        if number % 3 == 0:
            done = ask(site, "apply")
            assert planned(site) == {}, landed
            assert leftovers(site.machine) == [], landed
            site.wait_until_it_answers()
            # Recorded by this apply, or by the one that was killed when all but its last words was done.
            recorded = site.machine.read("/var/lib/manylab/generations/current/manylab.toml")
            assert f"Site {number}" in recorded, (done, code, landed)
    with capsys.disabled():
        print(f"\napply takes {whole:.1f} s; killed after it said:\n  " + "\n  ".join(landed))
    name = site.manylab("config", "get", "site.name").stdout.strip()
    assert name == f"Site {KILLS}"
    assert site.machine.run("ls /opt/manylab/envs/tiny/*/bin/python").stdout


def test_of_two_at_once_the_second_waits_or_says_who_is_at_work(site):
    change(site, 100)
    with site.machine.popen([f"{CHECKOUT}/manylab", "apply"], cwd="/") as first:
        first.wait_for_output("solving")
        pid = next(p.pid for p in site.machine.processes() if p.argv[-1] == "apply")

        refused = site.manylab("apply", "--wait", "0", "--json", check=False)
        assert refused.returncode == 1
        error = data_of(refused)["error"]
        assert error["code"] == "E-LOCKED" and str(error["pid"]) == str(pid)
        assert f"(pid {pid})" in error["message"] and error["hint"]
        assert first.poll() is None, "the first still runs, so this was a real meeting"

        second = site.manylab("apply", timeout=120)
        assert f"waiting for another manylab (pid {pid})" in second.stderr
        assert first.wait(60) == 0
    assert "Nothing to change" in second.stdout
    assert planned(site) == {}


def test_a_lock_file_that_a_dead_process_left_holds_nobody_up(site):
    site.machine.write("/run/manylab/apply.lock", "99999999", mode=0o600)
    assert ask(site, "apply", "--wait", "0")["changes"] == []
