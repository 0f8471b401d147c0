"""What is open in a nursery's child when it becomes a person: they can have a copy of that (pidfd_getfd)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from manylab.warm import identity

SOURCE = Path(identity.__file__).parents[2]
# The child's own code up to the moment when it would become somebody; an order as the warden gives it.
PROGRAM = """
import importlib, json, os, socket, sys
from manylab.warm import identity, wire
module, log = importlib.import_module("manylab.warm." + sys.argv[1]), sys.argv[2]
if sys.argv[1] == "callers":
    module._place = lambda spec, peer: {"uid": 1, "gid": 1, "groups": []}

def become(*arguments, **more):
    print(json.dumps([os.readlink(f"/proc/self/fd/{number}") for number in range(3)]), file=open(log, "a"))
    os._exit(0)

identity.become = identity.become_owner = become
ours, theirs = socket.socketpair()
warden = wire.Conversation(ours)
with open(log, "a") as given:
    warden.send({"entry": "x:y", "env": {}}, (given.fileno(),))
if os.fork():
    os.wait()
    os._exit(0)
module.serve(wire.Conversation(theirs), wire.Peer(os.getpid(), 1, 1), {}, lambda: None)
"""


@pytest.mark.parametrize(("child", "output"), [("callers", "/dev/null"), ("servers", "the log")])
def test_it_is_nothing_of_the_nurserys(tmp_path, child, output):
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, child, str(log)], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    assert log.exists(), done.stderr
    where = str(log) if output == "the log" else output
    assert json.loads(log.read_text()) == ["/dev/null", where, where]
