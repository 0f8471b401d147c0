"""Questions to a real systemd over its private socket: it answers every one, however short, however busy it is."""

from __future__ import annotations

import json

import pytest
from harness import SUITES, Machine

from support.build import put_project, with_packages

pytestmark = pytest.mark.soak

# Eight at a time keep systemd busy, so that it reads what came in the meantime at once. It reads the first words of a
# connection into 256 bytes, and forgot a question that fitted in there as a whole until something else came.
ASK = """
import json, os, subprocess, sys, threading
sys.path.insert(0, "/srv/manylab/src")
from manylab.warden import systemd

systemd._PATIENCE = 10.0
failed = []

def ask(length):
    for number in range(25):
        process = subprocess.Popen(["/bin/sleep", "1000"])
        unit = f"{'x' * length}-{number}-{os.urandom(4).hex()}.scope"
        try:
            systemd.start_scope(unit, [("PIDs", "au", [process.pid]), ("CollectMode", "s", "inactive-or-failed")])
            systemd.set_properties(unit, [("CPUWeight", "t", 50)])
            process.kill()
            process.wait()
            systemd.stop(unit)
        except OSError as error:
            failed.append([unit, str(error)])
            return
        finally:
            process.kill()

threads = [threading.Thread(target=ask, args=(length,)) for length in (1, 4, 7, 10, 13, 16, 19, 30)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(failed))
"""


@pytest.mark.parametrize("suite", SUITES)
def test_systemd_answers_every_question_of_the_warden(suite):
    with Machine(with_packages(suite, "systemd"), tmpfs="1G") as machine:
        put_project(machine)
        assert json.loads(machine.run(["/usr/bin/python3", "-I", "-c", ASK], timeout=300).stdout) == []
