"""What a forked process has for itself."""

import json
import os
import subprocess
import sys

CHILD = """
import json, logging, multiprocessing, os, random, sys, tempfile, uuid
from manylab.warm import renew
tempfile.tempdir = "/of/the/nursery"
tempfile._get_candidate_names()
multiprocessing.current_process()._config["tempdir"] = "/of/the/nursery"
began = logging._startTime
before = set(sys.modules)
for _ in range(2):
    if os.fork() == 0:
        renew.after_fork()
        print(json.dumps({
            "key": bytes(multiprocessing.current_process().authkey).hex(),
            "random": random.random(), "uuid": str(uuid.uuid4()),
            "folder": tempfile.tempdir, "sockets": multiprocessing.current_process()._config.get("tempdir"),
            "name": next(tempfile._get_candidate_names()), "later": logging._startTime > began,
            "imported": sorted(set(sys.modules) - before),
        }), flush=True)
        os._exit(0)
    os.wait()
"""


def test_two_children_share_no_secret_and_nothing_of_the_nursery():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    one, two = map(json.loads, done.stdout.splitlines())
    for name in ("key", "random", "uuid", "name"):
        assert one[name] != two[name]
    for child in (one, two):
        assert (child["folder"], child["sockets"], child["later"], child["imported"]) == (None, None, True, [])


def test_a_process_without_these_modules_gets_none_of_them():
    code = (
        "import sys; from manylab.warm import renew; had = set(sys.modules); "
        "renew.after_fork(); print(set(sys.modules) - had)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout == "set()\n"
