"""Who loses what they have under /run when that is filled: decided from numbers."""

from __future__ import annotations

import os
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
