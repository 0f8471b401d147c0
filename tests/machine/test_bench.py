"""`manylab bench` on a throwaway machine: it measures, nobody else notices, nothing of it stays, however it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.build import CHECKOUT
from support.site import Site

PASSWORD = "bench mark"
# Lab, kernel and memory, as they are called in the results.
MEASURED = {"lab", "kernel", "stack", "server-private", "kernel-private", "crowd-2"}

pytestmark = [pytest.mark.timeout(1200), pytest.mark.soak]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site("bookworm") as one:
        yield one


def left_of_a_bench(site: Site) -> list[str]:
    """Accounts, groups and folders of a bench; its processes are among site.left_behind()."""
    look = (
        "grep -h bench /etc/passwd /etc/group /etc/shadow; ls -d /var/lib/manylab-bench /run/manylab-bench 2>/dev/null"
    )
    return site.machine.run(look, check=False).stdout.splitlines()


def test_a_bench_measures_every_side_while_the_people_of_the_site_notice_nothing(site):
    site.add_user("alice", PASSWORD)
    with site.up(), site.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        alice.run("mine = 6")
        found = json.loads(site.manylab("bench", "--quick", "--json", timeout=900).stdout)
        assert alice.run("mine * 7") == "42"
        assert left_of_a_bench(site) == []
        assert [process for process in site.left_behind() if "bench" in " ".join(process.argv)] == []
    assert [side["name"] for side in found["sides"]] == ["warm", "cold", "local"]
    assert found["skipped"] == {"systemdspawner": "systemd does not run here"}
    for side in ("warm", "cold", "local"):
        rows = {row["metric"]: row for row in found["summaries"] if row["side"] == side}
        assert rows.keys() >= MEASURED
        assert all(row["n"] == 1 and row["median"] > 0 and not row["failures"] for row in rows.values()), rows
    assert 0 < found["generator"]["most_of_one_processor"] < 1


def test_ctrl_c_ends_a_bench_and_leaves_nothing(site):
    with site.machine.popen([f"{CHECKOUT}/manylab", "bench", "--quick", "--side", "local"], cwd="/") as bench:
        bench.wait_for_output("one person", timeout=120)
        bench.signal(2)
        assert bench.wait(120) == 130
        assert "Interrupted" in bench.output()
    assert left_of_a_bench(site) == []
    assert site.left_behind() == []


@pytest.mark.parametrize("side", ["warm", "local"])
def test_a_bench_that_was_killed_leaves_no_process_and_the_next_one_clears_up(site, side):
    with site.machine.popen([f"{CHECKOUT}/manylab", "bench", "--quick", "--side", side], cwd="/") as bench:
        bench.wait_for_output("one person", timeout=120)
        bench.signal(9)
        bench.wait(30)
    wait_until(lambda: not site.left_behind(), 60, lambda: "\n".join(map(str, site.left_behind())))
    assert left_of_a_bench(site) != []
    found = json.loads(site.manylab("bench", "--quick", "--side", "cold", "--only", "crowd", "--json").stdout)
    assert [row["failures"] for row in found["summaries"]] == [[]]
    assert left_of_a_bench(site) == []
    assert site.left_behind() == []


def test_a_bench_needs_a_site_and_root(site):
    site.machine.add_account("bob")
    asked = site.manylab("bench", "--quick", user="bob", check=False)
    assert asked.returncode == 1
    assert "E-NEEDS-ROOT" in asked.stderr
