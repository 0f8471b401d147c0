"""Which site a command is about, where root has one and somebody has one of their own; and that it says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.site import Site

ROOTS = "/etc/manylab/manylab.toml"
OWN = "/home/bob/.config/manylab/manylab.toml"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Root's site, which does not run; bob is a member of it."""
    with Site("bookworm") as one:
        one.add_user("bob", "wonderland 1865")
        yield one


def as_bob(site: Site, command: str, **more: str):
    return site.machine.run(f"manylab {command}", user="bob", check=False, env=more, timeout=600)


@pytest.mark.parametrize(
    "command",
    [
        *("config set http.port 9", "config get http.port", "apply", "plan", "rollback", "up", "install", "uninstall"),
        *("start", "restart", "env add default polars", "env gc", "env rollback default", "history"),
        *("user add carol --generate", "user remove bob --delete-home --yes", "logs", "uninstall --purge --yes"),
    ],
)
def test_a_member_is_told_to_use_sudo_and_nothing_is_made(site, command):
    before = site.machine.read(ROOTS)
    done = as_bob(site, command)
    assert done.returncode == 1, done
    assert "E-NEEDS-ROOT" in done.stderr and ROOTS in done.stderr and f"sudo manylab {command}" in done.stderr
    assert site.machine.read(ROOTS) == before
    assert not site.machine.exists("/home/bob/.local/share/manylab") and not site.machine.exists(OWN)


@pytest.mark.parametrize("command", ["status", "env list", "doctor --only disk-full", "top --once"])
def test_what_looks_looks_at_root_s_site(site, command):
    done = as_bob(site, command)
    assert "E-" not in done.stderr
    assert not site.machine.exists("/home/bob/.local/share/manylab")


def test_one_s_own_site_is_asked_for_and_named(site):
    first = as_bob(site, "config set http.port 9 --own")
    assert first.stdout.splitlines()[0] == "your own site ~/.config/manylab/manylab.toml", first
    assert "port = 9" in site.machine.read(OWN)
    second = as_bob(site, "config set http.port 8 --json", MANYLAB_SITE="own")
    assert json.loads(second.stdout)["changed"] and "your own site" in second.stderr
    assert as_bob(site, "--own config get http.port").stdout == "8\n"
    assert site.manylab("config", "get", "http.port").stdout.strip() == str(site.machine.port)
    refused = site.manylab("--own", "config", "set", "http.port", "7", check=False)
    assert refused.returncode == 1 and "E-REFUSED" in refused.stderr, "root has one site"


def test_what_root_changes_is_named_first(site):
    done = site.manylab("config", "set", "site.name", "Named")
    assert done.stdout.splitlines()[0] == f"site {ROOTS}"
    done = site.manylab("config", "set", "site.name", "Named again", "--json")
    assert json.loads(done.stdout)["changed"] and done.stderr.splitlines()[0] == f"site {ROOTS}"


def test_what_is_for_wsl_is_refused_elsewhere_before_anything_is_done(site):
    done = site.manylab("install", "--wsl-boot", check=False)
    assert done.returncode == 1 and "--wsl-boot is for WSL" in done.stderr, done
    assert not site.machine.exists("/etc/init.d/manylab") and not site.machine.exists("/etc/wsl.conf")


def test_an_account_is_deleted_only_after_a_question(site):
    site.add_user("goes", "wonderland 1865")
    asked = site.manylab("user", "remove", "goes", "--delete-home", check=False)
    assert asked.returncode == 1 and "/home/goes" in asked.stderr
    assert "manylab user remove goes --delete-home --yes" in asked.stderr
    with site.machine.popen("/srv/manylab/manylab user remove goes --delete-home", tty=True, cwd="/") as terminal:
        terminal.wait_for_output("Delete it?")
        terminal.send("y\n")
        assert terminal.wait(60) == 0
    assert not site.machine.exists("/home/goes")
