"""Several environments, as the people who use them see them: who is offered which, copies, terminals, new notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.client import Client
from support.looking import data_of, in_memory
from support.site import Site
from support.wheels import wheel

MANYLAB = "/usr/local/bin/manylab"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n'
CONFIG = """
[envs.default]
packages = ["ipykernel", "pip"]
[envs.course]
packages = ["ipykernel", "pip", "iniconfig"]
title = "Physics II"
description = "For the course of autumn"
logo = "/srv/logo.svg"
[envs.secret]
packages = ["ipykernel"]
groups = ["research"]
[env]
default = "course"
terminal = "course"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with Site("bookworm", config=CONFIG, machine=in_memory("bookworm")) as one:
        one.machine.write("/srv/logo.svg", SVG)
        one.machine.run(["groupadd", "research"])
        path = wheel(tmp_path_factory.mktemp("wheels"), "extra", "1.0", {"extra.py": "number = 42\n"})
        one.machine.write(f"/srv/{path.name}", path.read_bytes())
        with one.up():
            for name in ("alice", "bob"):
                one.add_user(name, f"{name}'s password")
            one.machine.run(["usermod", "-a", "-G", "research", "bob"])
            yield one


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    with site.client("alice", "alice's password") as person:
        person.sign_in()
        person.open_lab()
        yield person


def as_alice(site: Site, *words: str, check: bool = True) -> str:
    return site.machine.run([MANYLAB, *words], user="alice", cwd="/home/alice", check=check).stdout


def specs(person: Client) -> dict[str, object]:
    return dict(person.server("GET", "api/kernelspecs").json()["kernelspecs"])


def test_each_environment_is_a_kernel_with_its_name_and_picture(site, alice):
    answer = alice.server("GET", "api/kernelspecs").json()
    assert answer["default"] == "manylab-course"
    course, default = answer["kernelspecs"]["manylab-course"], answer["kernelspecs"]["python3"]
    assert (course["spec"]["display_name"], default["spec"]["display_name"]) == ("Physics II", "Python 3")
    assert alice.server("GET", "kernelspecs/manylab-course/logo-svg.svg").text == SVG
    assert "<svg" in alice.server("GET", "kernelspecs/python3/logo-svg.svg").text


def test_an_environment_for_a_group_is_offered_to_nobody_else(site, alice):
    assert "manylab-secret" not in specs(alice)
    assert alice.server("POST", "api/kernels", json={"name": "manylab-secret"}).status_code >= 400
    assert "secret" not in as_alice(site, "env", "list")
    with site.client("bob", "bob's password") as bob:
        bob.sign_in()
        bob.open_lab()
        assert "manylab-secret" in specs(bob)
        bob.start_kernel("manylab-secret")
        assert "/envs/secret/" in bob.run("import sys; print(sys.prefix)")


def test_a_terminal_has_the_chosen_environment_first_and_any_other_by_a_command(site, alice):
    assert "/opt/manylab/envs/course/" in alice.terminal("command -v python")
    assert "/envs/default/" in alice.terminal(
        f"{MANYLAB} env shell default -- python -c 'import sys; print(sys.prefix)'"
    )
    assert (
        "no environment 'secret'"
        in site.machine.run([MANYLAB, "env", "shell", "secret", "--", "true"], user="alice", check=False).stderr
    )


def test_a_copy_is_ones_own(site, alice):
    as_alice(site, "env", "copy", "course", "mine")
    assert "mine" in specs(alice)
    assert as_alice(site, "env", "copy", "course", "mine", check=False) == ""
    shared = site.machine.run(["readlink", "-f", "/opt/manylab/envs/course/current"]).stdout.strip()
    found = site.machine.run(["grep", "-rlI", shared, "/home/alice/envs/mine/bin"], check=False).stdout
    assert found == ""
    pip = ["/home/alice/envs/mine/bin/pip", "install", "--no-index", "/srv/extra-1.0-py3-none-any.whl"]
    site.machine.run(pip, user="alice", cwd="/home/alice")
    site.machine.run([*pip[:1], "uninstall", "-y", "iniconfig"], user="alice", cwd="/home/alice")
    alice.start_kernel("mine")
    assert alice.run("import extra, sys; print(extra.number, sys.prefix)") == "42 /home/alice/envs/mine\n"
    # What is shared is as it was.
    assert site.machine.run([f"{shared}/bin/python", "-c", "import iniconfig"]).returncode == 0
    assert site.machine.run([f"{shared}/bin/python", "-c", "import extra"], check=False).returncode == 1


def test_what_a_person_has_is_listed_beside_what_is_shared(site, alice):
    alice.start_kernel("python3")
    alice.run(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', '--user', '--no-index',"
        " '/srv/extra-1.0-py3-none-any.whl'], check=True)"
    )
    rows = data_of(site.machine.run([MANYLAB, "env", "list", "--json"], user="alice", cwd="/"))["environments"]
    kinds = {(row["name"], row["kind"]) for row in rows}
    assert {("default", "shared"), ("course", "shared"), ("mine", "own"), ("--user", "user")} <= kinds
    by_name = {row["name"]: row for row in rows}
    assert by_name["course"]["description"] == "For the course of autumn"
    assert by_name["--user"]["packages"] == 1
    alice.start_kernel("python3")
    assert alice.run("import extra; print(extra.number)") == "42\n"


def test_a_copy_that_is_killed_leaves_nothing_in_the_way(site):
    with site.machine.popen([MANYLAB, "env", "copy", "course", "half"], user="alice", cwd="/home/alice") as running:
        part = "/home/alice/envs/.half.manylab-part"
        wait_until(lambda: site.machine.exists(part) or running.poll() is not None, 60, lambda: running.output())
        running.signal(9)
        running.wait(20)
    if not site.machine.exists("/home/alice/envs/half"):
        as_alice(site, "env", "copy", "course", "half")
    assert not site.machine.exists(part)
    assert site.machine.run(["/home/alice/envs/half/bin/python", "-c", "import ipykernel"]).returncode == 0


def test_root_makes_no_copy_and_a_copy_of_nothing_is_refused(site):
    refused = site.machine.run([MANYLAB, "env", "copy", "course", "x", "--json"], check=False)
    assert json.loads(refused.stdout)["error"]["code"] == "E-REFUSED"
    missing = site.machine.run([MANYLAB, "env", "copy", "secret", "x", "--json"], user="alice", check=False)
    assert json.loads(missing.stdout)["error"]["code"] == "E-NOT-FOUND"
