"""Going back: by hand with `rollback`, and by itself when a change leaves the site without an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.build import SMALL
from support.client import CellFailed, Client
from support.looking import ask, in_memory, planned, refusal, tree
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG = f'# how we like it\n[site]\nname = "First"\n{SMALL}'
CONFIG_FILE = "/etc/manylab/manylab.toml"
# A package without dependencies, a few kilobytes.
TINY = "iniconfig"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Up in the foreground, as in a container, with alice in it."""
    with Site("bookworm", config=CONFIG, machine=in_memory("bookworm", small=True)) as one:
        one.add_user("alice", PASSWORD)
        with one.up():
            yield one


@pytest.fixture
def alice(site) -> Iterator[Client]:
    """Signed in, with her Lab open."""
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        yield client


def current(site: Site) -> int:
    """The number of the generation in use."""
    return next(item["number"] for item in ask(site, "history")["generations"] if item["current"])


def link(site: Site) -> str:
    return site.machine.run(["readlink", "/opt/manylab/envs/default/current"]).stdout.strip()


def rendered(site: Site) -> dict[str, str]:
    """What the site's programs read, without times."""
    folder = "/var/lib/manylab/rendered"
    names = site.machine.run(["ls", folder]).stdout.split()
    return {
        **tree(site.machine, folder, times=False),
        **{name: site.machine.read(f"{folder}/{name}") for name in names},
    }


def test_rollback_brings_back_configuration_rendered_files_and_environment(site, alice):
    text, files, environment, number = site.machine.read(CONFIG_FILE), rendered(site), link(site), current(site)
    alice.run("kept = 42")
    old_kernel = alice.kernel

    added = ask(site, "env", "add", "default", TINY)
    assert [package["name"] for package in added["packages"]] == [TINY]
    site.manylab("config", "set", "site.name", "Second")
    ask(site, "apply")
    assert link(site) != environment and current(site) == number + 2
    assert "# how we like it" in site.machine.read(CONFIG_FILE), "comments are kept"
    alice.start_kernel()
    alice.run(f"import {TINY}")

    ask(site, "rollback", str(number))
    assert site.machine.read(CONFIG_FILE) == text
    assert rendered(site) == files
    assert link(site) == environment
    assert planned(site) == {}
    site.wait_until_it_answers()
    alice.start_kernel()
    with pytest.raises(CellFailed, match="ModuleNotFoundError"):
        alice.run(f"import {TINY}")
    alice.kernel = old_kernel
    assert alice.run("kept") == "42", "what runs already goes on"


def test_rollback_without_a_number_goes_back_one_and_is_a_generation_itself(site):
    site.manylab("config", "set", "site.name", "Third")
    before = ask(site, "apply")["generation"]
    site.manylab("config", "set", "site.name", "Fourth")
    assert ask(site, "apply")["generation"] == before + 1
    done = ask(site, "rollback")
    assert done["generation"] == before + 2
    assert site.manylab("config", "get", "site.name").stdout == "Third\n"
    summary = ask(site, "history")["generations"][-1]["summary"]
    assert summary.startswith(f"rollback to {before}")


def test_rollback_repairs_a_configuration_that_is_no_longer_one(site):
    text = site.machine.read(CONFIG_FILE)
    site.machine.write(CONFIG_FILE, "[http\nport = = 1\n", mode=0o600)
    assert refusal(site, "apply")["code"] == "E-CONFIG"
    assert refusal(site, "plan")["code"] == "E-CONFIG"
    assert site.answers(), "what runs is not disturbed"
    ask(site, "rollback", str(current(site)))
    assert site.machine.read(CONFIG_FILE) == text
    assert planned(site) == {}


def test_a_generation_that_never_was_is_refused(site):
    before = current(site)
    assert refusal(site, "rollback", "9999")["code"] == "E-NOT-FOUND"
    assert current(site) == before


def test_a_change_that_leaves_no_answer_is_undone_by_itself(site, capsys):
    text, files, number = site.machine.read(CONFIG_FILE), rendered(site), current(site)
    # Valid as far as anybody can tell before the hub has tried it.
    broken = f'{text}\n[hub]\ndb_url = "sqlite:////nonexistent/folder/x.sqlite"\n'
    site.machine.write(CONFIG_FILE, broken, mode=0o600)
    began = time.monotonic()
    error = refusal(site, "apply", timeout=180)
    seconds = time.monotonic() - began
    assert error["code"] == "E-UNHEALTHY"
    assert f"generation {number} is in use again" in error["message"]
    site.wait_until_it_answers()
    assert rendered(site) == files
    assert current(site) == number, "what failed is no generation"
    assert site.machine.read(CONFIG_FILE) == broken, "what somebody wrote is theirs to correct"
    assert "file /var/lib/manylab/rendered/hub.json" in planned(site)
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
    site.machine.write(CONFIG_FILE, text, mode=0o600)
    assert ask(site, "apply")["changes"] == []
    with capsys.disabled():
        print(f"\nan unhealthy change was undone after {seconds:.0f} s")
