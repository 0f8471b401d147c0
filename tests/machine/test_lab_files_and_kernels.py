"""Kernels that are not the site's own, and files, as people have them in the Lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Client
from support.looking import data_of, in_memory
from support.site import Site
from support.wheels import wheel

PASSWORD = "wonderland 1865"
MANYLAB = "/usr/local/bin/manylab"
TCP_KERNEL = Path(__file__).parents[1] / "support/tcp_kernel.py"
WHEEL = "/srv/wheels/echo_kernel-1.0-py3-none-any.whl"
SPEC = {"argv": ["python", "-m", "echo_kernel", "{connection_file}"], "display_name": "Echo", "language": "echo"}
CONFIG = f"""
[envs.default]
packages = ["ipykernel"]
[envs.course]
packages = ["ipykernel", "echo-kernel @ file://{WHEEL}"]
groups = ["students"]
[envs.other]
packages = ["ipykernel", "echo-kernel @ file://{WHEEL}"]
[servers]
trash = "7d"
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(("bookworm", "none"), marks=pytest.mark.soak), ("trixie", "systemd")],
    ids="-".join,
)
def site(request, tmp_path_factory) -> Iterator[Site]:
    suite, init = request.param
    files = {
        "echo_kernel.py": TCP_KERNEL.read_text(),
        "echo_kernel-1.0.data/data/share/jupyter/kernels/echo/kernel.json": json.dumps(SPEC),
    }
    path = wheel(tmp_path_factory.mktemp("wheels"), "echo_kernel", "1.0", files, requires=("pyzmq",))
    with Site(suite, init, config=CONFIG, machine=in_memory(suite, init, small=True)) as one:
        one.machine.write(WHEEL, path.read_bytes())
        one.machine.run(["groupadd", "students"])
        one.machine.run("mkdir /srv/scratch && mount -t tmpfs -o mode=1777 tmpfs /srv/scratch")
        one.install()
        yield one


@pytest.fixture(scope="module")
def bob(site) -> Iterator[Client]:
    site.add_user("bob", PASSWORD)
    with site.client("bob", PASSWORD) as person:
        person.sign_in()
        person.open_lab()
        yield person


def give(site: Site, name: str, argv: list[str], **more: Any) -> None:
    """A kernel of bob's own."""
    spec = {"argv": argv, "display_name": name, "language": "echo", **more}
    path = f"/home/bob/.local/share/jupyter/kernels/{name}/kernel.json"
    site.machine.run(["mkdir", "-p", path.rpartition("/")[0]], user="bob")
    site.machine.write(path, json.dumps(spec), owner="bob")


def answer_of(person: Client, kernel: str) -> dict[str, Any]:
    person.start_kernel(kernel)
    found: dict[str, Any] = json.loads(person.run("x"))
    return found


# kernels


def test_a_kernel_that_speaks_tcp_only_works_and_ipykernel_keeps_its_unix_sockets(site, bob):
    site.machine.write("/home/bob/kernel.py", TCP_KERNEL.read_text(), owner="bob")
    give(site, "tcp", ["/opt/manylab/envs/default/current/bin/python", "/home/bob/kernel.py", "{connection_file}"])
    assert answer_of(bob, "tcp")["transport"] == "tcp"
    show = "from ipykernel.connect import get_connection_info as f; print(f(unpack=True)['transport'])"
    give(
        site,
        "own",
        ["/opt/manylab/envs/default/current/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    )
    for kernel in ("python3", "own"):
        bob.start_kernel(kernel)
        assert bob.run(show) == "ipc\n"
    # The key of each is for its owner.
    folder = "/run/manylab/servers/bob/_/jupyter"
    modes = site.machine.run(f"stat -c %a {folder} {folder}/kernel-*.json").stdout.split()
    assert modes[0] == "1700" and set(modes[1:]) == {"600"}


def test_python_of_a_spec_is_that_of_the_persons_terminal(site, bob):
    site.machine.write("/home/bob/kernel.py", TCP_KERNEL.read_text(), owner="bob")
    give(site, "bare", ["python", "/home/bob/kernel.py", "{connection_file}"])
    assert "/opt/manylab/envs/default/" in answer_of(bob, "bare")["python"]
    # As miniconda does: what comes first in a terminal comes first here.
    site.machine.run("mkdir mine && ln -s python mine/python3", user="bob", cwd="/home/bob")
    wrapper = '#!/bin/sh\nexec /opt/manylab/envs/default/current/bin/python "$@"\n'
    site.machine.write("/home/bob/mine/python", wrapper, mode=0o755, owner="bob")
    before = site.machine.read("/home/bob/.bashrc")
    site.machine.write("/home/bob/.bashrc", before + '\necho hello\nPATH="$HOME/mine:$PATH"\n', owner="bob")
    assert bob.terminal("command -v python").splitlines()[-1] == "/home/bob/mine/python"
    give(site, "named", ["python3", "/home/bob/kernel.py", "{connection_file}"])
    for kernel in ("bare", "named"):
        assert answer_of(bob, kernel)["path"].split(":")[0] == "/home/bob/mine"
    site.machine.write("/home/bob/.bashrc", before, owner="bob")


def test_a_message_of_many_megabytes_gets_to_a_kernel(site, bob):
    site.machine.write("/home/bob/kernel.py", TCP_KERNEL.read_text(), owner="bob")
    give(site, "large", ["python", "/home/bob/kernel.py", "{connection_file}"])
    bob.start_kernel("large")
    for size in (12_000_000, 60_000_000):
        assert json.loads(bob.run("x" * size))["size"] == size


def test_what_people_cannot_change_is_locked(bob):
    assert bob.server("GET", "lab/api/plugins").json()["allLocked"]


def test_a_program_that_is_not_there_is_said(bob, site):
    give(site, "gone", ["nosuchprogram", "{connection_file}"])
    answer = bob.server("POST", "api/kernels", json={"name": "gone"})
    assert answer.status_code == 500
    assert "nosuchprogram" in answer.json()["message"]


def test_kernels_of_packages_are_offered_to_those_who_are_offered_the_environment(site, bob):
    site.add_user("alice", PASSWORD)
    site.machine.run(["usermod", "-a", "-G", "students", "alice"])
    with site.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        found = alice.server("GET", "api/kernelspecs").json()["kernelspecs"]
        titles = {name: found[name]["spec"]["display_name"] for name in found if name.startswith("echo")}
        assert titles == {"echo": "Echo (course)", "echo-other": "Echo (other)"}
        said = answer_of(alice, "echo")
        assert "/envs/course/" in said["python"] and "/envs/course/" in said["path"].split(":")[0]
    offered = bob.server("GET", "api/kernelspecs").json()["kernelspecs"]
    assert "echo" not in offered
    assert "/envs/other/" in answer_of(bob, "echo-other")["python"]
    assert bob.server("POST", "api/kernels", json={"name": "echo"}).status_code >= 400


def test_a_kernel_goes_with_its_package(site):
    shared = "/opt/manylab/share/jupyter/kernels"
    site.manylab("env", "remove", "other", "echo-kernel")
    assert not site.machine.exists(f"{shared}/echo-other")
    assert data_of(site.manylab("plan", "--json"))["changes"] == []
    assert "Echo" in site.machine.read(f"{shared}/echo/kernel.json")


# the trash


def test_a_folder_goes_to_the_trash_with_all_that_is_in_it_and_comes_back(site, bob):
    make = "mkdir -p d1/d2/.h d1/kept; echo 1 > d1/d2/.h/f; echo 2 > d1/ro; chmod 400 d1/ro; chmod 500 d1/d2; "
    make += "mkdir -p real; echo 3 > real/f; ln -s ../real d1/link; chmod 500 d1"
    site.machine.run(make, user="bob", cwd="/home/bob")
    look = "cd d1 && find . -printf '%p %y %m %l\\n' | sort"
    before = site.machine.run(look, user="bob", cwd="/home/bob").stdout
    assert bob.server("DELETE", "api/contents/d1").status_code == 204
    assert not site.machine.exists("/home/bob/d1")
    items = data_of(site.machine.run([MANYLAB, "trash", "list", "--json"], user="bob"))["items"]
    assert [(item["name"], item["original"]) for item in items] == [("d1", "/home/bob/d1")]
    site.machine.run([MANYLAB, "trash", "restore", "d1"], user="bob")
    assert site.machine.run(look, user="bob", cwd="/home/bob").stdout == before
    assert bob.server("DELETE", "api/contents/d1").status_code == 204
    site.machine.run([MANYLAB, "trash", "empty", "--yes"], user="bob")
    assert site.machine.read("/home/bob/real/f") == "3\n"
    assert site.machine.run(["find", "/home/bob/.local/share/Trash", "-type", "f"]).stdout == ""
    assert '"delete_to_trash": true' in bob.open_lab()


def test_two_files_of_one_name_are_both_kept(site, bob):
    for text in ("first", "second"):
        site.machine.write("/home/bob/same.txt", text, owner="bob")
        assert bob.server("DELETE", "api/contents/same.txt").status_code == 204
    trash = "/home/bob/.local/share/Trash/files"
    assert (site.machine.read(f"{trash}/same.txt"), site.machine.read(f"{trash}/same 2.txt")) == ("first", "second")
    refused = site.machine.run([MANYLAB, "trash", "restore", "nothing", "--json"], user="bob", check=False)
    assert data_of(refused)["error"]["code"] == "E-NOT-FOUND"


def test_what_is_on_another_file_system_is_kept_too(site, bob):
    site.machine.run("mkdir -p /srv/scratch/a/b && echo 1 > /srv/scratch/a/b/f", user="bob")
    site.machine.run("ln -sfn /srv/scratch scratch", user="bob", cwd="/home/bob")
    assert bob.server("DELETE", "api/contents/scratch/a").status_code == 204
    assert not site.machine.exists("/srv/scratch/a")
    assert site.machine.read("/home/bob/.local/share/Trash/files/a/b/f") == "1\n"
    assert bob.server("DELETE", "api/contents/scratch").status_code == 204
    assert site.machine.exists("/srv/scratch")


def test_on_a_full_disk_what_is_deleted_stays_in_the_trash_until_it_is_emptied(site):
    site.add_user("carol", PASSWORD)
    site.machine.run(
        "mount -t tmpfs -o size=16M tmpfs /home/carol && chown carol: /home/carol && chmod 700 /home/carol"
    )
    with site.client("carol", PASSWORD) as carol:
        carol.sign_in()
        carol.open_lab()
        site.machine.run(
            "mkdir big; head -c 6M /dev/zero > big/1; head -c 1M /dev/zero > old", user="carol", cwd="/home/carol"
        )
        assert carol.server("DELETE", "api/contents/old").status_code == 204
        site.machine.run("cat /dev/zero > big/2", user="carol", cwd="/home/carol", check=False)
        assert carol.server("DELETE", "api/contents/big").status_code == 204
        listed = data_of(site.machine.run([MANYLAB, "trash", "list", "--json"], user="carol"))["items"]
        assert {item["name"] for item in listed} == {"old", "big"}
        site.machine.run([MANYLAB, "trash", "restore", "big"], user="carol")
        assert site.machine.exists("/home/carol/big/2")
        assert carol.server("DELETE", "api/contents/big").status_code == 204
        site.machine.run([MANYLAB, "trash", "empty", "--yes"], user="carol")
        site.machine.run("head -c 14M /dev/zero > new", user="carol", cwd="/home/carol")
        assert carol.server("DELETE", "api/contents/new").status_code == 204
