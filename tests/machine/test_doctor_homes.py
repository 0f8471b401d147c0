"""Commands of an administrator where root does not see everything at once: homes that root may not enter, that hang,
that have access lists, or that are not there; and a directory of accounts that is silent.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fuse_home
from support.build import SMALL
from support.looking import ask, in_memory, refusal
from support.site import Site

pytestmark = pytest.mark.timeout(600)
PYTHON = "/opt/manylab/envs/hub/current/bin/python"
# linux/posix_acl_xattr.h: a home of root's whose access list lets in one other account.
ACL = "import os, struct, sys; os.setxattr(sys.argv[1], 'system.posix_acl_access', bytes.fromhex(sys.argv[2]))"


def access_list(uid: int) -> str:
    entries = ((1, 7, -1), (2, 7, uid), (4, 0, -1), (16, 7, -1), (32, 0, -1))
    return (struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in entries)).hex()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", small=True)) as one:
        machine = one.machine
        machine.write("/root/fuse_home.py", Path(fuse_home.__file__).read_text())
        machine.run(["groupadd", "dept"])
        machine.run("mkdir -m 0710 /srv/dept && chgrp dept /srv/dept")
        for name in ("alice", "fuse", "hung", "listed", "homeless", "inside"):
            one.add_user(name, f"the password of {name}")
        machine.write("/home/alice/.ipython/profile_default/startup/00.py", "x = 1\n", owner="alice")
        person = {name: machine.person(name) for name in ("fuse", "hung", "listed")}
        for name, how in (("fuse", "answer"), ("hung", "hang")):
            uid, gid = person[name].uid, person[name].gid
            machine.run([PYTHON, "/root/fuse_home.py", f"/home/{name}", str(uid), str(gid), how])
        machine.run("chown root: /home/listed && chmod 0700 /home/listed")
        machine.run([PYTHON, "-c", ACL, "/home/listed", access_list(person["listed"].uid)])
        machine.run("rm -r /home/homeless; mv /home/inside /srv/dept/; usermod -aG dept -d /srv/dept/inside inside")
        yield one


def doctor(site: Site, *words: str) -> dict[str, list[str]]:
    """What is not as it should be, by check."""
    said = json.loads(site.manylab("doctor", "--json", *words, check=False).stdout)
    return {
        one["id"]: [found["what"] for found in one["findings"] if found["level"] in ("warning", "problem")]
        for one in said["checks"]
    }


def test_root_may_not_enter_one_home_and_waits_for_ever_at_another(site):
    """Else the tests below show nothing."""
    assert "Permission denied" in site.machine.run(["ls", "/home/fuse"], check=False).stderr
    assert site.machine.run(["ls", "-ld", "/home/fuse"], user="fuse", cwd="/").returncode == 0
    assert site.machine.run(
        ["timeout", "-s", "KILL", "2", "ls", "/home/hung"], user="hung", cwd="/", check=False
    ).returncode


def test_doctor_says_whose_home_does_not_answer_and_checks_everybody_else(site):
    began = time.monotonic()
    found = doctor(site)
    assert time.monotonic() - began < 60
    assert found["home-silent"] == ["hung: the home folder /home/hung did not answer within 5 s"]
    assert found["home-missing"] == ["homeless has no home: /home/homeless is not there"]
    assert not [text for texts in found.values() for text in texts if "check failed" in text or "did not end" in text]
    assert [text.split(" is run")[0] for text in found["leftover-startup"]] == [
        "/home/alice/.ipython/profile_default/startup/00.py"
    ]
    for name in ("fuse", "listed", "inside"):  # they can use their homes, whatever root thinks of them
        assert not [text for texts in found.values() for text in texts if name in text], found


def test_a_home_that_root_cannot_delete_is_refused_before_anything_is_changed(site):
    for name, why in (("hung", "did not answer within 5 s"), ("fuse", "cannot be looked at: Permission denied")):
        error = refusal(site, "user", "remove", name, "--delete-home", "--yes")
        assert error["code"] == "E-NO-ANSWER" and f"/home/{name}" in error["message"] and why in error["message"]
        assert "manylab" in site.machine.run(["id", "-nG", name]).stdout.split()


def test_other_commands_do_not_look_into_homes(site):
    for words in (["user", "list"], ["status"], ["top"], ["env", "list"]):
        began = time.monotonic()
        site.manylab(*words, "--json", check=False)
        assert time.monotonic() - began < 15, words
    assert {one["name"] for one in ask(site, "user", "list")["users"]} >= {"hung", "fuse", "homeless"}


def test_a_directory_of_accounts_that_is_silent_holds_up_no_check_for_long(site):
    """A pipe that nobody writes to, in place of /etc/group: who is in which group is never answered."""
    site.machine.run("mv /etc/group /etc/group.away && mkfifo /etc/group")
    try:
        error = refusal(site, "user", "list")
        assert error["code"] == "E-NO-ANSWER" and "directory of accounts did not answer" in error["message"]
        began = time.monotonic()
        found = doctor(site)
        assert time.monotonic() - began < 120
        assert found["group-missing"] == ["the directory of accounts did not answer within 5 s"] and len(found) > 50
    finally:
        site.machine.run("mv -f /etc/group.away /etc/group")
