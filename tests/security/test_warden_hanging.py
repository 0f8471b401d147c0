"""Processes that whoever looks at them waits for, for ever: they hold up nobody but their owner."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manylab.base import procfs
from manylab.cli.look import processes as looked
from manylab.cli.look import top_processes
from manylab.system import ports
from manylab.warden import processes, room
from support import hanging
from support.warden_site import PEOPLE, READY, STAND_IN, runs, until

BOB = PEOPLE["mlt-bob"]


@pytest.fixture
def device(site):
    """A /dev/fuse that everybody may open, as on most machines."""
    path = site.root / "fuse"
    if not path.exists():
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(10, 229))
        path.chmod(0o666)
    mine = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f"exec 3<>{path}"]
    tried = subprocess.run(mine, user=BOB, group=BOB, extra_groups=[], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("nobody can have a file system of their own here (FUSE, or user namespaces, are missing)")
    return path


@contextlib.contextmanager
def ended(note: Path):
    """Nothing hangs any longer afterwards: other programs of this machine wait for it too."""
    try:
        yield
    finally:
        if note.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note.read_text()), signal.SIGKILL)
            note.unlink()


def hangs(pid: int) -> bool:
    """In the middle of exec: its arguments are not there yet."""
    state = procfs.status(pid).get("State", "")[:1]
    return state in ("S", "D") and not Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def bob_hangs(site, device):
    """Bob's server, whose main process hangs; others' are as always."""
    note = site.home / "mlt-bob/daemon"
    site.serve(
        f"""
import os
if os.environ["USER"] == "mlt-bob":
    exec({READY!r})
    space = dict(__name__="hanging")
    exec({Path(hanging.__file__).read_text()!r}, space)
    space["main"]({str(device)!r}, {str(note)!r})
exec({STAND_IN!r})
"""
    )
    with ended(note):
        pid = site.start("mlt-bob")["pid"]
        until(lambda: hangs(pid), 5)
        yield pid
    site.serve(None)
    until(lambda: not runs(pid), 15)


def test_a_server_that_cannot_be_looked_at_holds_up_nobody_and_can_be_stopped(site, bob_hangs):
    begun = time.monotonic()
    for _ in range(3):
        alice = site.start("mlt-alice")["pid"]
        assert {one["pid"] for one in site.ask("list")["servers"]} == {alice, bob_hangs}
        assert site.ask("stop", user="mlt-alice", server="", now=True)["was"] == "running"
    assert time.monotonic() - begun < 6
    assert hangs(bob_hangs)
    assert site.ask("stop", user="mlt-bob", server="", now=True)["was"] == "running"
    assert time.monotonic() - begun < 7, "it ended by itself"
    assert not runs(bob_hangs)
    assert site.ask("list")["servers"] == []


def test_a_new_warden_takes_over_a_server_that_cannot_be_looked_at(site, bob_hangs):
    begun = time.monotonic()
    site.down(signal.SIGKILL)
    site.up()
    assert hangs(bob_hangs)
    assert site.ask("status", user="mlt-bob", server="")["pid"] == bob_hangs
    assert site.ask("stop", user="mlt-bob", server="", now=True)["was"] == "running"
    assert time.monotonic() - begun < 7, "it ended by itself"
    assert not runs(bob_hangs)


@pytest.fixture
def stuck(site, device):
    """A process of bob's that belongs to no server."""
    note = site.home / "mlt-bob/daemon"
    program = Path(hanging.__file__).read_text()
    who = {"user": BOB, "group": BOB, "extra_groups": ()}
    with (
        ended(note),
        subprocess.Popen([site.readable_python(), "-c", program, device, note], cwd="/", **who) as process,
    ):
        try:
            until(lambda: hangs(process.pid), 5)
            yield process.pid
        finally:
            process.kill()
            if note.exists():
                os.kill(int(note.read_text()), signal.SIGKILL)


def test_looks_at_all_processes_come_to_an_end(site, stuck):
    begun = time.monotonic()
    seen = processes.see(stuck)
    assert seen is not None and seen.hung and seen.alive
    assert processes.see(os.getpid()).process.starttime
    hung: list[int] = []
    room.nameless_files(site.root.stat().st_dev, hung)
    assert stuck in hung and os.getpid() not in hung
    there = top_processes.readings()
    assert os.getpid() in there and there[stuck].name
    assert top_processes.memory(stuck) is None
    assert looked.environ(stuck) == {}
    assert looked.uid(stuck) == BOB
    looked.marked()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert [one.pid for one in ports.listeners(server.getsockname()[1])] == [os.getpid()]
    assert time.monotonic() - begun < 8
    assert hangs(stuck)
    # Those who cannot be looked at are ended as what they are, by a descriptor.
    processes.send(seen.process, signal.SIGKILL)


def test_nobody_hides_processes_of_another_account(site, stuck):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert processes.see(stuck).hung
        assert not processes.see(other.pid).hung
        assert procfs.hangs(stuck) and not procfs.hangs(other.pid)
    finally:
        other.communicate(b"\n")
