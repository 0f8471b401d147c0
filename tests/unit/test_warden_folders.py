"""Folders and logs of people's servers: what their owners can make of them harms nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manylab.system import accounts
from manylab.warden import folders, processes
from manylab.warden.accounts import Person


def test_a_big_log_moves_aside_and_the_open_file_stays_in_use(tmp_path):
    log = os.open(tmp_path / "server-alice.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"x" * (11 << 20))
    folders.trim_log(tmp_path / "server-alice.log")
    os.write(log, b"after")
    os.close(log)
    assert (tmp_path / "server-alice.log").read_bytes() == b"after"
    assert (tmp_path / "server-alice.log.1").stat().st_size == 10 << 20


def test_a_log_that_is_long_and_empty_costs_nothing(tmp_path):
    """Whoever has it open can make it as long as they like, and write anywhere in it."""
    path = tmp_path / "server-alice.log"
    log = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(log, 1 << 42)
    folders.trim_logs(tmp_path)
    assert (path.stat().st_size, (tmp_path / "server-alice.log.1").stat().st_size) == (0, 0)
    os.pwrite(log, b"the end", (1 << 42) - 7)
    os.close(log)
    folders.trim_logs(tmp_path)
    assert path.stat().st_size == 0
    assert (tmp_path / "server-alice.log.1").read_bytes().lstrip(b"\0") == b"the end"


def test_a_log_is_emptied_although_there_is_no_room_for_its_end(tmp_path):
    path = tmp_path / "server-alice.log"
    path.write_bytes(b"x" * (11 << 20))
    path.with_name(path.name + ".1").mkdir()  # any reason why it cannot be written
    folders.trim_log(path)
    assert path.stat().st_size == 0


def test_a_log_is_never_opened_through_a_link(tmp_path):
    (tmp_path / "server-alice.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        folders.open_log(tmp_path, "alice")
    assert not (tmp_path / "elsewhere").exists()


def deep(folder: Path, levels: int) -> None:
    """Folders in folders; a path of them all would be too long for the kernel."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_what_people_left_in_their_tmp_before_the_boot_keeps_nobody_from_starting(tmp_path):
    private, elsewhere = tmp_path / "private", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    for folder in (private / "an-earlier-boot", tmp_path / "another"):
        folder.mkdir(parents=True)
        deep(folder, 3000)
    private.chmod(0o710)
    (private / "an-earlier-boot/link").symlink_to(elsewhere)
    if sys.version_info < (3, 13):
        with pytest.raises(RecursionError):
            shutil.rmtree(tmp_path / "another", ignore_errors=True)
    folders.empty_private(private)
    end = time.monotonic() + 30
    while (left := [path.name for path in private.iterdir()]) != [processes.boot_id()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
    assert (elsewhere / "kept").exists()
    subprocess.run(["rm", "-rf", tmp_path / "another"], check=True)


def person(name: str, uid: int = 54321) -> Person:
    return Person(name, uid, uid, (), "/", "/bin/sh")


@pytest.fixture
def private(tmp_path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o710)
    return folder


def wait_until_emptied(private: Path) -> None:
    end = time.monotonic() + 30
    while left := list(private.glob("*/.gone-*")):
        assert time.monotonic() < end, left
        time.sleep(0.02)


def test_a_number_that_is_given_again_brings_nothing_of_the_account_that_had_it(private):
    folder = folders.private_for(private, person("gone-1"))
    (folder / "tmp/secret").touch()
    assert folders.private_for(private, person("gone-1")) == folder
    assert (folder / "tmp/secret").exists()
    assert folders.private_for(private, person("next-1")) == folder
    assert list((folder / "tmp").iterdir()) == []
    (folder / "tmp/mine").touch()
    folders.private_for(private, person("next-1"))
    assert (folder / "tmp/mine").exists()
    wait_until_emptied(private)


def test_a_folder_of_a_version_that_wrote_no_name_down_is_taken_as_it_is(private):
    folder = folders.private_parts(folders.private_root(private) / "54321")
    (folder / "tmp/work").touch()
    folders.private_for(private, person("old-1"))
    assert (folder / "tmp/work").exists()
    folders.private_for(private, person("next-1"))
    assert not (folder / "tmp/work").exists()
    wait_until_emptied(private)


def test_two_names_of_one_account_share_what_they_have(private):
    me = pwd.getpwuid(os.geteuid())
    folder = folders.private_for(private, person(me.pw_name, me.pw_uid))
    (folder / "tmp/ours").touch()
    folders.private_for(private, person("another-name", me.pw_uid))
    assert (folder / "tmp/ours").exists()


def test_what_a_person_had_goes_when_they_are_removed_and_nobody_elses(private, tmp_path):
    removed = accounts.Person("gone-1", 54321, 54321, Path("/"), "/bin/sh")
    for one in (person("gone-1"), person("stays-1", 54322)):
        folder = folders.private_for(private, one)
        deep(folder / "tmp", 3000)
        (folder / "tmp/link").symlink_to(tmp_path)
    assert accounts.remove_private(private, removed)
    assert sorted(path.name for path in private.glob("*/*")) == ["54322", "54322.account"]
    folders.private_for(private, person("next-1"))
    assert accounts.remove_private(private, removed)
    assert len(list(private.glob("*/54321"))) == 1, "the next one's"
    assert accounts.remove_private(tmp_path / "none", removed)
    subprocess.run(["rm", "-rf", private], check=True)
