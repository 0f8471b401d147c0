"""A site in one file: made on one machine, and on another that has a Python and no network a person is in their Lab."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Machine, Root, installed, root_for

from support.build import CHECKOUT
from support.channel import Channel, Server, module, stand_in_python
from support.looking import ask, in_memory
from support.site import Site

BUNDLE = "/srv/bundle.tar"
CONFIG = """
[site]
name = "Island"
[mirrors]
proxy = ""
channels = {{ geography = "{channel}" }}
[servers]
packages = ["jupyterlab-spreadsheet-editor"]
[envs.default]
packages = ["ipykernel", "iniconfig"]
[envs.geo]
backend = "conda"
channels = ["geography"]
packages = ["maps"]
pip = ["ipykernel", "tomli-w"]
"""
# root's own umask, as hardened machines have it.
CLOSED = "umask 077 && "


def inside(machine: Machine, path: str) -> Path:
    """A file of the machine, as this process sees it."""
    return Path(f"/proc/{machine.leader}/root{path}")


def with_python(machine: Machine) -> None:
    """What a machine without internet is expected to have."""
    machine.run(
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends python3 && apt-get clean", timeout=600
    )


def lonely(suite: str) -> Root:
    """A bare Debian with a Python: no venv, no pip, no uv, no certificates."""
    return installed(f"python-{suite}", "python3", root_for(suite, "none"), with_python)


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Iterator[str]:
    made = Channel(tmp_path_factory.mktemp("channel"))
    made.add(stand_in_python("3.11.99", real=Path("/usr/bin/python3.11")))
    made.add(module("maps", "1.0", depends=("python",)))
    with Server(made).running() as running:
        yield running.url


@pytest.fixture(scope="module")
def bundle(channel) -> Iterator[bytes]:
    """The bundle of a site with environments that were solved for it, and an extension of the Lab."""
    with Site("bookworm", config=CONFIG.format(channel=channel), machine=in_memory("bookworm")) as site:
        site.manylab("apply")
        made = ask(site, "env", "bundle", BUNDLE, timeout=900)
        assert made["pythons"] == ["3.11"] and made["size"] > 50e6
        print(f"the bundle has {made['size'] / 1e6:.0f} MB")
        assert site.machine.run("ls -A /srv | sort").stdout.split() == ["bundle.tar", "manylab"]
        yield inside(site.machine, BUNDLE).read_bytes()


@pytest.fixture(scope="module")
def island(bundle) -> Iterator[Site]:
    machine = Machine(lonely("bookworm"), tmpfs="7G", network="private")
    with machine:
        machine.run(["mkdir", "-p", "/srv"])
        inside(machine, BUNDLE).write_bytes(bundle)
        site = Site("bookworm", machine=machine)
        site.machine = machine  # not entered: that would write a manylab.toml
        yield site


def test_a_damaged_bundle_is_refused_before_anything_is_changed(island, bundle):
    machine = island.machine
    machine.run(f"cd /srv && tar -xf {BUNDLE} manylab")
    bad = bytearray(bundle)
    bad[len(bad) // 2] ^= 1
    inside(machine, "/srv/bad.tar").write_bytes(bad)
    inside(machine, "/srv/short.tar").write_bytes(bundle[: len(bundle) // 2])
    for name, said in (("bad", "damaged"), ("short", "damaged"), ("missing", "cannot be read")):
        done = machine.run([f"{CHECKOUT}/manylab", "install", "--bundle", f"/srv/{name}.tar"], check=False)
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert machine.run("ls -Ad /opt/manylab /etc/manylab /var/lib/manylab 2>/dev/null", check=False).stdout == ""
    machine.run("rm /srv/bad.tar /srv/short.tar")


def test_a_machine_with_another_python_refuses_it_before_anything_is_changed(bundle):
    with Machine(lonely("trixie"), tmpfs="2G", network="private") as machine:
        machine.run(["mkdir", "-p", "/srv"])
        inside(machine, BUNDLE).write_bytes(bundle)
        machine.run(f"cd /srv && tar -xf {BUNDLE} manylab")
        done = machine.run([f"{CHECKOUT}/manylab", "install", "--bundle", BUNDLE], check=False)
        assert done.returncode == 1 and "for Python 3.11, and this machine's is 3.13" in done.stderr, done.stderr
        assert "next: make one on a machine with Python 3.13" in done.stderr
        assert machine.run("ls -Ad /opt/manylab /etc/manylab /var/lib/manylab 2>/dev/null", check=False).stdout == ""


def test_without_any_network_a_person_is_in_their_lab(island):
    machine = island.machine
    assert machine.run(["python3", "-c", "import ensurepip"], check=False).returncode != 0
    assert machine.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1").stdout.split() == ["lo"]
    done = machine.run(f"{CLOSED}{CHECKOUT}/manylab install --bundle {BUNDLE}", timeout=900, cwd="/")
    assert "running at" in done.stdout
    assert 'name = "Island"' in machine.read("/etc/manylab/manylab.toml")
    machine.run([f"{CHECKOUT}/manylab", "user", "add", "alice", "--password-stdin"], input="her password\n")
    port = re.search(r"^port = (\d+)", machine.read("/etc/manylab/manylab.toml"), re.MULTILINE)[1]
    sign_in = """
import http.cookiejar, json, re, sys, urllib.parse, urllib.request
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := http.cookiejar.CookieJar()))
page = opener.open("http://127.0.0.1:8000/hub/login").read().decode()
xsrf = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
form = urllib.parse.urlencode({"username": "alice", "password": "her password", "_xsrf": xsrf}).encode()
page = opener.open("http://127.0.0.1:8000/hub/login?next=/hub/spawn", form, timeout=120)
for _ in range(120):
    if "/user/alice/" in page.url and "spawn-pending" not in page.url:
        break
    import time
    time.sleep(0.5)
    page = opener.open("http://127.0.0.1:8000/user/alice/lab")
print(urllib.parse.urlsplit(page.url).path, "jupyter-config-data" in page.read().decode())
"""
    said = machine.run(["python3", "-c", sign_in.replace(":8000/", f":{port}/")], timeout=200).stdout
    assert "/user/alice/lab True" in said, said
    cell = "import iniconfig, ipykernel; print(6 * 7)"
    assert machine.run(["/opt/manylab/envs/default/current/bin/python", "-c", cell], user="alice").stdout == "42\n"
    cell = "import maps, tomli_w, ipykernel; print(maps.version)"
    assert machine.run(["/opt/manylab/envs/geo/current/bin/python", "-c", cell], user="alice").stdout == "1.0\n"
    shared = "/opt/manylab/envs/server/current/share/jupyter/labextensions"
    assert "spreadsheet-editor" in machine.run(f"cat {shared}/*/package.json", user="alice").stdout
    unreadable = "find /opt/manylab/envs ! -type l ! -perm -o=r -o -type d ! -perm -o=x"
    assert machine.run(unreadable).stdout == ""


def test_what_is_damaged_later_is_made_again_from_the_bundle(island):
    machine = island.machine
    machine.run(
        "rm -rf /opt/manylab/cache/uv /opt/manylab/cache/npm; for name in proxy default; do"
        " rm /opt/manylab/envs/$name/current/manylab-environment.json; done"
    )
    done = machine.run(["/usr/local/bin/manylab", "apply", "--json"], timeout=600)
    changed = {change["resource"] for change in json.loads(done.stdout)["changes"]}
    assert changed >= {"environment proxy", "environment default"}
    # The command in the environment is the manylab that was installed from the bundle.
    assert "environment hub" not in changed
    refused = machine.run(["/usr/local/bin/manylab", "env", "add", "default", "polars", "--json"], check=False)
    assert json.loads(refused.stdout)["error"]["code"] == "E-DOWNLOAD", refused.stdout
    done = machine.run(["/usr/local/bin/manylab", "apply", "--json"])
    assert json.loads(done.stdout)["changes"] == []
