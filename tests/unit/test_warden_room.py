"""Who loses what they have under /run when that is filled: decided from numbers, and from what files really are."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from manylab.warden import room
from manylab.warden.room import Use

MOUNTS = """overlay / overlay rw 0 0
tmpfs /run tmpfs rw,nosuid,nodev,size=800000k 0 0
/dev/vda1 /run/manylab-not ext4 rw 0 0
"""


def left(blocks: int, free: int, files: int = 1000, free_files: int = 1000) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, blocks, free, free, files, free_files, free_files, 0, 255))


def test_only_a_file_system_in_memory_is_looked_after():
    assert room.is_memory(MOUNTS, Path("/run/manylab/servers"))
    assert not room.is_memory(MOUNTS, Path("/srv/manylab/run/servers"))
    assert room.is_memory(MOUNTS + "overlay /srv overlay rw 0 0\ntmpfs /srv tmpfs rw 0 0\n", Path("/srv/x"))


def test_half_of_it_is_to_stay_free_in_bytes_and_in_files():
    assert not room.is_short(left(1000, 500))
    assert room.is_short(left(1000, 499))
    assert room.is_short(left(1000, 900, files=1000, free_files=400))
    assert not room.is_short(left(0, 0, files=0, free_files=0)), "a tmpfs without limits"


def test_whoever_has_most_is_to_blame_and_nobody_who_has_as_little_as_everybody():
    whole = left(100_000, 10)
    normal = {f"p{number}": Use(60_000, 30) for number in range(300)}
    assert room.to_blame(normal, whole) is None
    assert room.to_blame({**normal, "eve": Use(300 << 20, 5), "bob": Use(20 << 20, 5)}, whole) == "eve"
    assert room.to_blame({**normal, "eve": Use(0, 900_000)}, left(100_000, 90_000, 1_000_000, 10)) == "eve"


def test_subordinate_uids_are_their_owner_and_strangers_are_nobody():
    people, lines = {1001: "eve", 1002: "bob"}, ["eve:100000:65536", "1002:200000:10", "carol:300000:10", "# odd"]
    assert [room.owner(uid, people, lines) for uid in (1001, 100_001, 200_009)] == ["eve", "eve", "bob"]
    assert [room.owner(uid, people, lines) for uid in (0, 165_536, 300_000)] == [None, None, None]


def seen_among(inodes: set[int], folder: Path) -> dict[int, tuple[int, int]]:
    """Only our own files: everybody on this machine has some without a name, and opens and closes them meanwhile."""
    return {inode: what for inode, what in room.nameless_files(folder.stat().st_dev).items() if inode in inodes}


def test_files_without_a_name_count_once_as_long_as_they_are_open(tmp_path):
    held: list[int] = []
    inodes: set[int] = set()
    for number in range(50):
        held.append(os.open(tmp_path / "t", os.O_RDWR | os.O_CREAT))
        os.write(held[-1], bytes(8192))
        inodes.add(os.fstat(held[-1]).st_ino)
        if number % 2:
            held.append(os.dup(held[-1]))  # the same file again
        (tmp_path / "t").unlink()
    named = os.open(tmp_path / "named", os.O_RDWR | os.O_CREAT)
    try:
        assert len(inodes) == 50
        found = seen_among(inodes | {os.fstat(named).st_ino}, tmp_path)
        whole = room.nameless(tmp_path.stat().st_dev)[os.geteuid()]
    finally:
        for descriptor in (*held, named):
            os.close(descriptor)
    assert found.keys() == inodes
    assert all(uid == os.geteuid() and size >= 8192 for uid, size in found.values())
    assert whole.files >= 50
    assert whole.size >= 50 * 8192


def test_a_file_that_has_another_name_is_not_one_of_them(tmp_path):
    with (tmp_path / "t").open("w") as held:
        inode = os.fstat(held.fileno()).st_ino
        (tmp_path / "other").hardlink_to(tmp_path / "t")
        (tmp_path / "t").unlink()
        assert not seen_among({inode}, tmp_path)
        (tmp_path / "other").unlink()
        assert seen_among({inode}, tmp_path)


def test_a_thread_cannot_hide_what_it_has_open_in_a_table_of_its_own(tmp_path):
    opened, seen = threading.Event(), threading.Event()
    inodes: set[int] = set()

    def hide() -> None:
        assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
        held = os.open(tmp_path / "t", os.O_RDWR | os.O_CREAT)
        inodes.add(os.fstat(held).st_ino)
        (tmp_path / "t").unlink()
        opened.set()
        seen.wait(30)
        os.close(held)

    thread = threading.Thread(target=hide)
    thread.start()
    try:
        assert opened.wait(30)
        assert seen_among(inodes, tmp_path).keys() == inodes
    finally:
        seen.set()
        thread.join()


def test_room_that_nobody_can_be_blamed_for_is_said_once_a_minute(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(room, "is_short", lambda found: True)
    monkeypatch.setattr(room, "is_memory", lambda mounts, path: True)
    monkeypatch.setattr(room.Room, "uses", lambda self, servers: {"alice": Use(60_000, 30)})
    watch = room.Room()
    assert [watch.look(tmp_path) for _ in range(3)] == [None] * 3
    assert len([one for one in caplog.records if "ss -xp" in one.getMessage()]) == 1
