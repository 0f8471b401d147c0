"""A namespace that somebody made with power of their own is not entered by a process that is to become somebody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manylab.warm import apart
from support.warden_site import PEOPLE, until

ALICE = PEOPLE["mlt-alice"]
# What a nursery's child does, as root without the other steps: enter, and say what is mounted at the place.
ENTER = """
import sys
from manylab.warm import apart
if sys.argv[2] == "defenceless":
    apart._is_of_our_users = lambda namespace: True
apart.join(int(sys.argv[1]))
print(open("/etc/hostname").read())
"""
SOURCE = Path(apart.__file__).parents[2]


def sleeper(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups", *words], stdin=subprocess.PIPE
    )


@pytest.fixture
def hers() -> Iterator[int]:
    """A process with a mount namespace of its own making, in which a file of /etc is another one."""
    evil = "mount -t tmpfs none /mnt && echo evil >/mnt/f && mount --bind /mnt/f /etc/hostname && exec cat"
    with sleeper("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", evil) as process:
        try:
            until(lambda: process.poll() is not None or _comm(process.pid) == "cat")
            if process.poll() is not None:
                pytest.skip("needs user namespaces that everybody can make (unshare --user is not allowed here)")
            yield process.pid
        finally:
            process.kill()


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def enter(pid: int, how: str) -> subprocess.CompletedProcess[str]:
    argv = ["unshare", "--mount", sys.executable, "-c", ENTER, str(pid), how]
    return subprocess.run(argv, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False)


def test_it_could_be_entered_and_what_root_reads_there_is_hers(hers):
    assert enter(hers, "defenceless").stdout.strip() == "evil"


def test_it_is_not_entered(hers):
    done = enter(hers, "as it is")
    assert done.stdout == ""
    assert "PermissionError" in done.stderr


def test_one_that_the_site_made_is():
    with subprocess.Popen(["unshare", "--mount", "--ipc", "cat"], stdin=subprocess.PIPE) as process:
        try:
            until(lambda: _comm(process.pid) == "cat")
            assert enter(process.pid, "as it is").stdout == Path("/etc/hostname").read_text() + "\n"
            assert not Path(f"/proc/{process.pid}/ns/mnt").samefile("/proc/self/ns/mnt")
        finally:
            process.kill()
