"""What the warden remembers of a nursery's children: how those ended that became servers, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import subprocess
from pathlib import Path

import pytest

from manylab.base.limits import Limits
from manylab.warden import nurseries
from manylab.warden.accounts import Person
from manylab.warden.messages import Start
from manylab.warden.nurseries import Nurseries
from manylab.warden.nursery import Nursery
from manylab.warden.pam import Pam
from manylab.warden.sessions import Session, Sessions, Traits
from manylab.warden.settings import Nursery as Spec
from manylab.warden.settings import Settings
from manylab.warden.spawn import Plan, Seat
from manylab.warden.starts import Starts
from manylab.warden.talk import Talk
from manylab.warden.turns import Turn

SETTINGS = functools.partial(
    Settings, 1, None, "site", 1000, "site", None, *map(Path, ("/s", "/r", "/v", "/p")), ("/bin/true",), ("/bin",), {}
)
ALICE = Person("alice", 1000, 1000, (1000,), "/home/alice", "/bin/sh")


@contextlib.contextmanager
def nursery():
    """A nursery, and its process's end of the line to the warden."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = Nursery(Spec("server", "server", ("/bin/true",), ()), Path("/nonexistent/nursery.sock"))
    made.listen(ours)
    try:
        yield made, theirs
    finally:
        theirs.close()
        while not made.ended.is_set():
            made._hear()


async def told(theirs: socket.socket, *messages: dict[str, object]) -> None:
    """Say this to the warden."""
    theirs.setblocking(False)
    for message in messages:
        await asyncio.get_running_loop().sock_sendall(theirs, json.dumps(message).encode())


def test_how_a_server_ended_is_known_and_how_kernels_ended_is_not_kept():
    async def scenario():
        with nursery() as (one, theirs):
            one.expect(7)
            kernels = [{"exit": pid, "status": 0} for pid in range(1000, 1100)]
            await told(theirs, *kernels, {"exit": 7, "status": -9}, {"ready": True})
            await one.ready.wait()
            return await one.exit_of(7), await one.exit_of(7), [await one.exit_of(pid) for pid in range(1000, 1100)]

    assert asyncio.run(scenario()) == (-9, None, [None] * 100)


def test_what_a_killed_nursery_left_is_removed_by_the_next_of_its_name_alone(tmp_path):
    for name in (".server-0123abcd.d", ".server-two-0123abcd.d", ".server-0123abcd"):
        (tmp_path / name / "r-1").mkdir(parents=True)
    made = Nursery(Spec("server", "server", ("/bin/true",), ()), tmp_path / ".server-89abcdef")
    scratch = made._make_scratch(0, 0)
    assert scratch.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".server-0123abcd",
        ".server-89abcdef.d",
        ".server-two-0123abcd.d",
    ]


def test_a_start_that_fails_is_not_waited_for():
    class Full:
        """A registry on a disk without room."""

        def write(self, entry):
            raise OSError(28, "No space left on device")

        def remove(self, entry):
            pass

    async def scenario():
        ours, theirs = socket.socketpair()
        with nursery() as (one, line), theirs, subprocess.Popen(["sleep", "1000"]) as child:
            one.expect(child.pid)
            starts = Starts(Full(), None, Sessions(Pam(), 1024), 1024, lambda running: None)
            seat = Seat(child.pid, Talk(ours), nursery=one)
            plan = Plan({}, Path("/run/x.sock"), "x.scope", "mark", Limits())
            try:
                with pytest.raises(OSError, match="No space"):
                    await starts._one(
                        seat,
                        Turn(asyncio.Semaphore()),
                        plan,
                        ALICE,
                        Start("alice", "", {}),
                        None,
                        None,
                        Session(Traits()),
                    )
                await asyncio.to_thread(child.wait, 10)
            finally:
                child.kill()
            await told(line, {"exit": child.pid, "status": -9}, {"ready": True})
            await one.ready.wait()
            assert theirs.recv(1) == b""  # the child hears that there will be no order
            return child.returncode, await one.exit_of(child.pid)

    assert asyncio.run(scenario()) == (-9, None)


def test_a_nursery_that_is_about_to_be_there_is_waited_for_and_one_that_failed_is_not(tmp_path, monkeypatch):
    """The processes' ends of the lines are here: what they say, and that they end, is what the warden goes by."""
    lives: list[socket.socket] = []

    def start(self, settings, place):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.path.touch()
        self.listen(ours)
        lives.append(theirs)

    monkeypatch.setattr(Nursery, "start", start)
    monkeypatch.setattr(nurseries, "_PATIENCE", (0.0,))
    monkeypatch.setattr(nurseries, "_SOON", 1000.0)
    monkeypatch.setattr(nurseries.folders, "own", lambda *about: None)
    spec = Spec("server", "server", ("/bin/true",), ())
    settings = SETTINGS(nursery_run=tmp_path, nurseries=(spec,))

    async def life(number: int) -> socket.socket:
        while len(lives) < number:
            await asyncio.sleep(0)
        return lives[number - 1]

    async def scenario():
        every = Nurseries(tmp_path / "place.sock")
        await every.coming("server")  # nobody has asked for one
        every.keep(settings)

        first = await life(1)
        waits = asyncio.ensure_future(every.coming("server"))
        await told(first, {"ready": True})
        await waits
        assert every.get("server", settings) is not None

        first.close()  # it is killed
        waits = asyncio.ensure_future(every.coming("server"))
        second = await life(2)
        assert not waits.done() and every.get("server", settings) is None
        await told(second, {"ready": True})
        await waits
        assert every.get("server", settings) is not None

        second.close()
        waits = asyncio.ensure_future(every.coming("server"))
        (await life(3)).close()  # it fails
        await waits
        await life(4)
        await every.coming("server")  # at once
        await told(lives[3], {"ready": True})
        while every.get("server", settings) is None:
            await asyncio.sleep(0)
        lives[3].close()
        await life(5)
        waits = asyncio.ensure_future(every.coming("server"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waits.done(), "it is no longer one that failed"
        await told(lives[4], {"ready": True})
        await waits
        every.keep(SETTINGS(nursery_run=tmp_path))
        assert every.get("server", SETTINGS(nursery_run=tmp_path)) is None
        await every.coming("server")  # nobody asks for one any more

    asyncio.run(asyncio.wait_for(scenario(), 60))
    for line in lives:
        line.close()
