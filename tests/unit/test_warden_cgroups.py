"""Where a server's limits are set: the kernel's descriptions, version 2 on a fake tree, and systemd's language.

The real thing, version 1 and systemd, is in tests/machine/test_limits.py.
"""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from dataclasses import asdict

import pytest

from manylab.base.hierarchies import Hierarchy, parse, places
from manylab.base.limits import Limits
from manylab.warden import cgroup_files, cgroups, hierarchies, systemd
from manylab.warden.cgroups import Cage
from support.fake_cgroups import FakeTree

V1 = """\
31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw
"""
SCOPE = "manylab-server-alice-_-0123abcd.scope"


def test_every_tree_is_found_where_it_is_mounted():
    found = {str(tree.point): tree for tree in parse(V1)}
    assert set(found) == {f"/sys/fs/cgroup/{name}" for name in ("cpu,cpuacct", "memory", "systemd", "uni fied")}
    assert found["/sys/fs/cgroup/memory"].root == "/docker/abc"
    assert [tree.version for tree in found.values()] == [1, 1, 1, 2]


def test_a_process_is_found_in_every_tree_also_below_a_container_s_folder():
    text = "8:name=systemd:/a\n4:memory:/docker/abc/manylab/x\n2:cpu,cpuacct:/manylab/x\n1:devices:/d\n0::/a/b\n"
    assert [str(path) for path in places(text, parse(V1))] == [
        "/sys/fs/cgroup/systemd/a",
        "/sys/fs/cgroup/memory/manylab/x",
        "/sys/fs/cgroup/cpu,cpuacct/manylab/x",
        "/sys/fs/cgroup/uni fied/a/b",
    ]


@pytest.mark.parametrize("inside", ["/../other", "/docker/abcd/x", "/docker"])
def test_what_is_outside_of_the_mounted_folder_has_no_path(inside):
    memory = next(tree for tree in parse(V1) if "memory" in tree.names)
    assert memory.folder(inside) is None


@pytest.fixture
def v2(tmp_path, monkeypatch):
    """A fake tree of version 2 as this machine's only one; call it with the controllers and who is in the top group."""

    def make(controllers="cpu memory pids io", **options):
        root = tmp_path / "cgroup"
        tree = FakeTree(root, controllers, patch=monkeypatch, **options)
        monkeypatch.setattr(hierarchies, "write", tree.write)
        monkeypatch.setattr(hierarchies, "mounted", lambda: (Hierarchy(2, frozenset(), root, "/"),))
        cgroup_files.forget()
        return tree

    yield make
    cgroup_files.forget()


def put(pid, **limits):
    given = {"slice_": None, "description": "x", "pid": pid, "limits": Limits(**limits)}
    return asyncio.run(cgroups.put(cgroups.detect(None), scope=SCOPE, **given))


@pytest.fixture
def sleeper(monkeypatch):
    monkeypatch.setattr(hierarchies, "end_early", lambda pid, score: None)
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_on_version_2_limits_are_written_and_the_process_is_moved(v2, sleeper):
    tree = v2()
    assert cgroups.detect(None) == "v2"
    assert cgroups.limited("v2") == {"memory", "cpu", "tasks"}
    cage = put(sleeper, memory=512 << 20, cpu=1.5, tasks=200)
    folder = tree.root / "manylab/alice-_-0123abcd"
    assert cage == Cage("v2", None, (str(folder),))
    limits = {name: (folder / name).read_text().strip() for name in ("memory.max", "cpu.max", "pids.max")}
    assert limits == {"memory.max": str(512 << 20), "cpu.max": "150000 100000", "pids.max": "200"}
    assert cgroups.members(cage) == {sleeper}
    cgroups.kill(cage)
    os.waitpid(sleeper, 0)
    (folder / "cgroup.procs").write_text("")
    asyncio.run(cgroups.remove(cage))
    asyncio.run(cgroups.remove(cage))
    assert not folder.exists()


def test_limits_that_nobody_set_are_not_written(v2, sleeper):
    tree = v2()
    put(sleeper, tasks=200)
    assert (tree.root / "manylab/alice-_-0123abcd/memory.max").read_text() == ""


def test_the_sum_is_set_on_the_folder_of_all_servers_and_lifted_again(v2):
    tree = v2()
    cgroups.set_total(cgroups.detect(None), Limits(memory=1 << 30), 50)
    all_servers = tree.root / "manylab"
    assert (all_servers / "memory.max").read_text().strip() == str(1 << 30)
    assert (all_servers / "cpu.weight").read_text().strip() == "50"
    assert int((all_servers / "pids.max").read_text()) > 100
    cgroups.set_total("v2", Limits())
    assert (all_servers / "memory.max").read_text().strip() == "max"


def test_processes_in_a_container_s_top_group_are_left_alone_and_there_are_no_limits(v2):
    tree = v2(real_root=False)
    (tree.root / "cgroup.procs").write_text("1\n7")
    assert cgroups.detect(None) == "none"
    assert (tree.root / "cgroup.procs").read_text() == "1\n7"
    assert not (tree.root / "manylab").exists()


def test_a_controller_that_is_not_there_is_not_claimed(v2):
    v2("pids hugetlb")
    assert cgroups.detect(None) == "v2"
    assert cgroups.limited("v2") == {"tasks"}


def test_looking_leaves_nothing_behind(v2):
    tree = v2()
    assert cgroup_files.look() == {"memory", "cpu", "tasks"}
    assert not (tree.root / "manylab").exists()


def test_a_cage_whose_process_has_gone_is_taken_back(v2, monkeypatch):
    monkeypatch.setattr(hierarchies, "end_early", lambda pid, score: None)
    tree = v2()

    def write(file, text):
        if file.name == "cgroup.procs":
            raise ProcessLookupError(3, "gone")
        tree.write(file, text)

    monkeypatch.setattr(hierarchies, "write", write)
    with pytest.raises(ProcessLookupError):
        put(os.getpid(), tasks=200)
    assert [path.name for path in (tree.root / "manylab").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("scope", ["manylab-server-../x.scope", "a.scope", "manylab-server-a.service", "x"])
def test_a_name_that_is_no_scope_s_is_refused(scope):
    with pytest.raises(OSError):
        asyncio.run(cgroups.put("v1", scope=scope, slice_=None, description="", pid=1, limits=Limits()))


def test_what_the_registry_keeps_of_a_cage_is_taken_back_and_nothing_else():
    cage = Cage("systemd", SCOPE, ("/sys/fs/cgroup/memory/x",))
    assert cgroups.find(asdict(cage)) == cage
    for wrong in ({"kind": "v3"}, {"paths": ["x"]}, {"paths": ["/a/../etc"]}, {"scope": "ssh.service"}, {"paths": 3}):
        with pytest.raises(ValueError):
            cgroups.find({**asdict(cage), **wrong})


def test_a_call_to_systemd_is_aligned_as_d_bus_wants_it():
    """By hand, after the specification: header of 16 bytes, fields at multiples of 8, then the body."""
    message = systemd.call("StopUnit", "ss", b"\5\0\0\0a.bcd\0")
    kind, flags, version, size, serial, fields = struct.unpack("<xBBBIII", message[:16])
    assert (kind, flags, version, size, serial) == (1, 0, 1, 10, 1)
    body = 16 + fields + -fields % 8
    assert message[body:] == b"\5\0\0\0a.bcd\0"
    assert message[16:20] == b"\1\1o\0"
    assert b"\x08\x01g\x00\x02ss\x00" in message


def test_answers_of_systemd_are_read_back():
    body = struct.pack("<I", 9) + struct.pack("<I", 4) + b"/job\0" + b"\0" * 3 + struct.pack("<I", 4) + b"done\0"
    header = b"\x03\x01s\x00" + struct.pack("<I", 10) + b"JobRemoved\0" + b"\0" * 5 + b"\x08\x01g\x00\x03uos\x00"
    assert systemd.read("<", 4, header, body) == systemd.Message(4, 0, "JobRemoved", ("/job", "done"))
    header = b"\x05\x01u\x00" + struct.pack("<I", 7) + b"\x04\x01s\x00" + struct.pack("<I", 3) + b"a.E\0"
    assert systemd.read("<", 3, header, b"") == systemd.Message(3, 7, "a.E", ())
