"""Any account of the machine that is a person's can sign in and work, whatever its name looks like."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from manylab.base import names
from support.build import SMALL
from support.client import Client, Refused
from support.looking import ask, in_memory, refusal
from support.site import Site

PASSWORD = "a long enough one"
ODD = {
    "20231234": 2001,
    "2015": 2002,  # also the uid of `other`
    "2023a": 2003,
    "a.b-c": 2004,
    "alice": 2005,
    "Alice": 2006,
    "alice@example.org": 2007,
    "EXAMPLE\\alice": 2008,
    "张三": 2009,
    "müller": 2010,
    "first last": 2011,
    "n" * 32: 2012,
    "n" * 33: 2013,
    "王" * 40: 2014,
    "other": 2015,
}
pytestmark = pytest.mark.timeout(900)


def add_by_hand(site: Site, name: str, uid: int) -> None:
    """As a directory service would have it: useradd has no say."""
    machine, home = site.machine, f"/home/{names.folder(name)}"
    for file, line in (
        ("passwd", f"{name}:x:{uid}:{uid}::{home}:/bin/bash"),
        ("group", f"{name}:x:{uid}:"),
        ("shadow", f"{name}:!:19000:0:99999:7:::"),
    ):
        machine.run(["sh", "-c", f'printf "%s\\n" "$1" >> /etc/{file}', "add", line])
    machine.run(["cp", "-r", "/etc/skel", home])
    machine.run(["chown", "-R", f"+{uid}:+{uid}", home])
    machine.run(["chmod", "700", home])
    machine.run(["chpasswd"], input=f"{name}:{PASSWORD}\n")


@pytest.fixture(
    scope="module",
    params=[("bookworm", "none"), pytest.param(("trixie", "systemd"), marks=pytest.mark.soak)],
    ids="-".join,
)
def site(request) -> Iterator[Site]:
    suite, init = request.param
    with Site(suite, init, config=SMALL, machine=in_memory(suite, init, small=True)) as one:
        for name, uid in ODD.items():
            add_by_hand(one, name, uid)
            added = ask(one, "user", "add", name)
            assert (added["user"], added["created"], added["joined"], added["password_set"]) == (
                name,
                False,
                True,
                False,
            )
        if init == "systemd":
            one.install()
            one.wait_for_log("the nursery default is ready")
            yield one
        else:
            with one.up():
                one.wait_for_log("the nursery default is ready")
                yield one


def signed_in(site: Site, name: str) -> Client:
    client = site.client(name, PASSWORD)
    client.sign_in()
    return client


@pytest.mark.parametrize("name", ODD)
def test_an_account_with_an_odd_name_signs_in_and_works(site, name):
    uid = ODD[name]
    with signed_in(site, name) as person:
        person.open_lab()
        assert person.run("import os, getpass; print(os.getuid(), getpass.getuser())") == f"{uid} {name}\n"
        processes = {one.pid: one for one in site.machine.processes()}
        kernels = [one for one in processes.values() if one.uid == uid and "ipykernel_launcher" in " ".join(one.argv)]
        assert kernels and all("nursery.py" in " ".join(processes[one.parent].argv) for one in kernels), "it is warm"
        assert person.terminal("id -un") == name
        mine = [one for one in ask(site, "status")["servers"] if one["user"] == name]
        assert len(mine) == 1
        assert [one["user"] for one in ask(site, "top")["servers"] if one["user"] == name] == [name]
        assert site.manylab("logs", name).stdout
        if name != "other":  # setpriv(1), by which the harness becomes somebody, takes the name 2015 for this uid
            own = site.machine.run(["/usr/local/bin/manylab", "top", "--json"], user=name).stdout
            assert [one["user"] for one in json.loads(own)["servers"]] == [name]
        person.stop_server()
    assert not [one for one in site.machine.processes() if one.uid == uid and "python" in " ".join(one.argv)]


def test_names_that_differ_in_capitals_are_two_people(site):
    with signed_in(site, "alice") as one, signed_in(site, "Alice") as other:
        one.open_lab(), other.open_lab()
        assert (one.terminal("id -u"), other.terminal("id -u")) == ("2005", "2006")
        assert other.http.get(f"{one.server_url}api/contents").status_code in (403, 404)
        one.stop_server(), other.stop_server()
    with pytest.raises(Refused, match="wrong"):
        signed_in(site, "ALICE")


def test_commands_of_an_administrator_take_the_same_names(site):
    listed = {one["name"]: one for one in ask(site, "user", "list")["users"]}
    assert listed.keys() >= ODD.keys() and listed["20231234"]["password"] == "set"
    for name in ("alice@example.org", "20231234", "张三"):
        assert ask(site, "user", "admin", name)["changed"] is True
        assert ask(site, "user", "admin", name, "--off")["changed"] is True
        site.manylab("config", "set", f'limits.people."{name}".memory', "3G")
    site.manylab("apply")
    found = json.loads(site.manylab("doctor", "--json", check=False).stdout)
    told = [
        one for one in found["checks"] if any(name in json.dumps(one, ensure_ascii=False) for name in ("2023", "张"))
    ]
    assert not [one for one in told if one["level"] == "problem"], told


def test_a_member_with_an_odd_name_is_removed_and_cannot_sign_in(site):
    add_by_hand(site, "2023b", 2101)
    add_by_hand(site, "b@example.org", 2102)
    for name in ("2023b", "b@example.org"):
        site.manylab("user", "add", name)
        with signed_in(site, name) as person:
            person.open_lab()
            assert ask(site, "user", "remove", name, "--delete-home", "--yes")["servers_stopped"] == 1
        assert not site.machine.exists(f"/home/{names.folder(name)}")
        assert site.machine.run(["grep", "-c", f"^{name}:", "/etc/passwd"], check=False).stdout == "0\n"


def test_a_name_that_useradd_refuses_is_told_in_its_own_words(site):
    error = refusal(site, "user", "add", "two words", "--generate")
    assert error["code"] == "E-BAD-NAME" and "useradd" in error["message"] and "two words" in error["message"]
    assert "--badname" in error["hint"]


@pytest.mark.parametrize(
    "name", ["../alice", "alice/../alice", "-x", "..", "alice:x", "root", "daemon", "2005", "0", "a.2eb-c"]
)
def test_names_of_nobody_open_nothing(site, name):
    with pytest.raises(Refused, match="wrong"):
        signed_in(site, name)
