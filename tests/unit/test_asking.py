"""Questions to the machine that may never be answered."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manylab.system.accounts import Person
from manylab.system.asking import NoAnswer, ask, ask_each

root_only = pytest.mark.skipif(os.getuid() != 0, reason="not root")


def person(name: str) -> Person:
    entry = pwd.getpwnam(name)
    return Person(name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), entry.pw_shell)


def test_an_answer_is_a_value_of_json_of_any_size():
    assert ask(lambda: {"a": [1, "x" * 1_000_000]}) == {"a": [1, "x" * 1_000_000]}


def test_one_that_hangs_is_named_and_holds_up_nobody():
    began = time.monotonic()
    people = [person("root")] * 40
    found = list(ask_each(people, lambda one: time.sleep(100), 1.0))
    assert time.monotonic() - began < 10
    assert {str(one) for one in found} == {"did not answer within 1 s"} and len(found) == 40
    assert ask(lambda: 1) == 1


def test_what_the_question_raises_is_the_reason():
    with pytest.raises(NoAnswer, match="cannot be looked at: No such file"):
        ask(lambda: Path("/nowhere/at/all").stat())
    with pytest.raises(NoAnswer, match="ended without an answer"):
        ask(lambda: os._exit(3))


@root_only
def test_it_is_asked_as_the_person_with_their_groups_and_nothing_of_root_s(tmp_path):
    someone = person("daemon")
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert ask(lambda: [*os.getresuid(), *os.getresgid()], person=someone) == [someone.uid] * 3 + [someone.gid] * 3
    assert ask(os.getgroups, person=someone) == os.getgrouplist("daemon", someone.gid)
    assert ask(lambda: os.access(secret, os.R_OK), person=someone) is False
    with pytest.raises(NoAnswer, match="Operation not permitted"):
        ask(lambda: os.setuid(0), person=someone)


@root_only
def test_the_person_cannot_look_into_the_process_that_asks_for_them():
    """Its memory is a copy of root's. The kernel shows that it is closed by giving its files in /proc to root."""
    assert ask(lambda: Path("/proc/self/mem").stat().st_uid, person=person("daemon")) == 0


def test_whoever_waits_for_the_end_of_our_output_does_not_wait_for_one_that_hangs():
    program = (
        "import time; from manylab.system.asking import *\n"
        "try: ask(lambda: time.sleep(100), 0.5)\nexcept NoAnswer: print(1)"
    )
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "1\n" and time.monotonic() - began < 20
