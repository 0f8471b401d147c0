"""`uninstall` takes away all that manylab made, and only that; what is kept brings everything back."""

from __future__ import annotations

import re

import pytest
from harness import Machine, wait_until

from support.build import SMALL, put_project, with_packages
from support.looking import changed, tree
from support.site import Site

PASSWORD = "wonderland 1865"
# What is compared: everything but what no program is to keep, and what packages of the distribution are.
EVERYWHERE = (
    "/etc",
    "/opt",
    "/usr/local",
    "/var",
    "/root",
    "/home",
    "/srv",
    "/tmp",
    "/run",
    "/usr/lib/systemd",
    "/boot",
    "/media",
    "/mnt",
)

# What may be different after `uninstall --purge`, each with its reason.
ALLOWED = {
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)": "alice's account stays",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "shadow's own copies of these",
    r"/etc/\.pwd\.lock": "shadow's lock",
    r"/home/alice(/.*)?": "alice's home stays",
    r"/home|/etc|/opt|/root|/var/lib|/var/log|/run|/tmp|/var/tmp": "folders in which something was made and removed",
    r"/var/mail/alice": "useradd makes it",
    r"/var/log/(lastlog|faillog|wtmp|btmp|journal|private)(/.*)?": "the system's own logs",
    r"/var/lib/systemd/.*": "systemd's timers and random seed",
    r"/run/(systemd|log|user|dbus|utmp|lock|mount|credentials|initctl)(/.*)?": "of the running system",
    r"/tmp/systemd-private-.*|/var/tmp/systemd-private-.*": "systemd's private /tmp of its own services",
    r"/etc/systemd/system(/multi-user\.target\.wants)?": "folders in which units were",
    r"/etc/(pam\.d|profile\.d|tmpfiles\.d|sudoers\.d)|/usr/local/(bin|share/fonts)": "folders in which a file was",
    r"/etc/systemd|/usr/local/share": "folders in which a folder was",
    r"/root/kept(/.*)?": "downloads that this test puts aside",
    # This test's machine had them before: what was downloaded for all tests.
    r"/opt/manylab(/.*)?": "the program, made before the comparison began",
}


def not_allowed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    different = changed(before, after)
    return {path: what for path, what in different.items() if not any(re.fullmatch(rule, path) for rule in ALLOWED)}


@pytest.fixture
def machine():
    """Under systemd; everything is downloaded, and there is no site."""
    with Machine(with_packages("bookworm", "systemd"), tmpfs="5G") as one:
        put_project(one)
        # Removed with the program; fetched once is enough for a test that installs twice.
        one.run("rm -rf /usr/local/share/fonts")  # layers made by an earlier version have a link in it
        one.run("mkdir /root/kept && cp -a /opt/manylab/cache /opt/manylab/tool /root/kept/")
        yield one


def test_uninstall_removes_all_it_made_and_install_brings_everything_back(machine):
    before = tree(machine, *EVERYWHERE)
    with Site("bookworm", config=SMALL, machine=machine) as site:
        site.install()
        site.add_user("alice", PASSWORD)
        site.manylab("user", "admin", "alice", check=False)
        with site.client("alice", PASSWORD) as alice:
            alice.sign_in()
            alice.open_lab()
            alice.run("open('mine.txt', 'w').write('mine')")
            token = alice.api("POST", "users/alice/tokens", json={"note": "kept"}).json()["token"]

        # Nobody to ask: what would go is said, and nothing goes.
        asked = site.manylab("uninstall", "--purge", check=False)
        assert asked.returncode == 1 and "manylab uninstall --purge --yes" in asked.stderr, asked
        for said in ("/opt/manylab  ", "/etc/manylab  ", "account manylab", "group manylab with its members (alice)"):
            assert said in asked.stderr
        assert site.answers()
        with machine.popen(["/srv/manylab/manylab", "uninstall"], tty=True, cwd="/") as terminal:
            terminal.wait_for_output("Delete it?", timeout=60)
            terminal.send("n\n")
            assert terminal.wait(30) == 1 and "nothing was deleted" in terminal.output()
        assert site.answers()

        site.manylab("uninstall", "--yes")
        site.wait_until_nothing_is_left()
        left = changed(before, tree(machine, *EVERYWHERE))
        made = {path for path, (was, now) in left.items() if now and not was}
        for path in (
            "/opt/manylab",
            "/usr/local/bin/manylab",
            "/etc/pam.d/manylab",
            "/etc/profile.d/manylab.sh",
            "/run/manylab",
        ):
            assert not machine.exists(path), path
        assert not [path for path in made if "/systemd/system/" in path and "manylab" in path]
        assert {"/etc/manylab/manylab.toml", "/var/lib/manylab/hub/jupyterhub.sqlite"} <= made, (
            "configuration and state are kept"
        )
        assert not re.search("^manylab", machine.read("/etc/passwd"), re.MULTILINE)
        # The site's group says who may sign in; every other one was for the site alone.
        assert not re.search("^manylab-", machine.read("/etc/group"), re.MULTILINE)
        assert machine.read("/home/alice/mine.txt") == "mine"

        machine.run("mkdir /opt/manylab && cp -a /root/kept/. /opt/manylab/")
        site.install()
        with site.client("alice", PASSWORD) as alice:
            alice.sign_in()
            alice.open_lab()
            assert alice.run("open('mine.txt').read()") == "'mine'"
            by_token = alice.http.get(f"{site.url}hub/api/user", headers={"Authorization": f"token {token}"})
            assert by_token.status_code == 200 and by_token.json()["name"] == "alice"

        site.manylab("uninstall", "--purge", "--yes")
        site.wait_until_nothing_is_left()
    assert not_allowed(before, wait_for_systemd(machine)) == {}
    assert not machine.exists("/opt/manylab") and not machine.exists("/var/log/manylab")
    # Who may sign in is the administrators' choice, and their files may belong to the group.
    assert re.findall("^manylab.*", machine.read("/etc/group"), re.MULTILINE)[0].endswith(":alice")
    assert len(re.findall("^manylab", machine.read("/etc/group"), re.MULTILINE)) == 1
    assert machine.run(["id", "-un", "alice"]).stdout == "alice\n"
    assert machine.read("/home/alice/mine.txt") == "mine"
    assert "manylab" not in machine.run(["systemctl", "list-units", "--all", "--no-legend", "manylab*"]).stdout


def wait_for_systemd(machine: Machine) -> dict[str, str]:
    """The tree when systemd has also forgotten alice's session."""
    wait_until(lambda: not machine.run(["systemctl", "list-jobs", "--no-legend"]).stdout.strip(), 60, "no jobs")
    return tree(machine, *EVERYWHERE)
