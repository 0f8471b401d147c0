"""What a confined service can still do, seen from inside it: real namespaces, real capabilities, as root.

The helper runs as the supervisor runs it, but for `-c` in the place of `-m`, so that it works without an installation.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from manylab.supervise.confine import Ids, NotDropped, verify

SRC = Path(__file__).parents[2] / "src"
CALL = "from manylab.supervise.confine import main; sys.exit(main(sys.argv[1:]))"
HELPER = f"import sys; sys.path.insert(0, {str(SRC)!r}); {CALL}"
WISH = {"confine": True, "account": "nobody", "groups": [], "writable": [], "capabilities": [], "cwd": "/"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def can_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


with_namespaces = pytest.mark.skipif(not can_unshare(), reason="mount namespaces are not permitted here")


def confined(script: str, *, before: tuple[str, ...] = (), **wish: object) -> subprocess.CompletedProcess:
    """Run a shell script confined. before: a command that runs the helper."""
    return subprocess.run(
        [*before, sys.executable, "-I", "-c", HELPER, json.dumps({**WISH, **wish}), "/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


def status_of(done: subprocess.CompletedProcess) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)


@pytest.fixture
def folder():
    """A folder that nobody may write, not below /tmp, which is private to the confined."""
    path = Path(f"/var/lib/manylab-test-{uuid.uuid4().hex}")
    path.mkdir()
    shutil.chown(path, "nobody")
    yield path
    shutil.rmtree(path)


@as_root
def test_the_service_is_its_account_without_any_power_and_cannot_gain_one():
    status = status_of(confined("cat /proc/self/status"))
    nobody = pwd.getpwnam("nobody")
    assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert status["Groups"].split() == [str(nobody.pw_gid)]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"


@as_root
def test_only_the_capability_that_was_asked_for_is_left():
    status = status_of(confined("cat /proc/self/status", capabilities=["CAP_NET_BIND_SERVICE"]))
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 1 << 10, name
    assert status["Uid"].split()[0] != "0"


@as_root
def test_supplementary_groups_are_exactly_those_named():
    status = status_of(confined("cat /proc/self/status", groups=["daemon"]))
    assert len(status["Groups"].split()) == 2


@with_namespaces
def test_the_system_is_read_only_and_the_own_folder_is_not(folder):
    # As root without capabilities, file modes would still let it write /etc and /usr: only the mounts say no.
    script = f"""
      for place in /etc /usr /var/lib /opt /run /; do
        touch "$place/manylab-test" 2>/dev/null && echo "wrote $place"
      done
      touch {folder}/mine && echo fine
    """
    done = confined(script, writable=[str(folder)])
    assert done.stdout == "fine\n", done.stdout + done.stderr
    shutil.chown(folder, "root")
    (folder / "mine").unlink()
    done = confined(script, account=None, writable=[str(folder)])
    assert done.stdout == "fine\n", done.stdout + done.stderr
    assert (folder / "mine").exists()
    assert "not confined" not in done.stderr


@with_namespaces
def test_tmp_is_private_and_homes_are_not_there(tmp_path):
    if sys.prefix.startswith(("/tmp", "/root", "/home")) or sys.base_prefix.startswith(("/tmp", "/root", "/home")):
        python = shutil.which("python3", path="/usr/bin")
        if (
            python is None
            or subprocess.run([python, "-c", "import sys; assert sys.version_info >= (3, 10)"]).returncode
        ):
            pytest.skip("this Python is itself in a home or in /tmp")
    else:
        python = sys.executable
    seen = Path(f"/tmp/manylab-test-{uuid.uuid4().hex}")
    seen.write_text("x")
    try:
        script = (
            "ls -A /tmp /root /home; touch /tmp/private && echo wrote; touch /root/x || echo refused; "
            f"test -e {seen} || echo hidden"
        )
        done = subprocess.run(
            [python, "-I", "-c", HELPER, json.dumps(WISH), "/bin/sh", "-c", script], capture_output=True, text=True
        )
    finally:
        seen.unlink()
    assert "wrote" in done.stdout and "hidden" in done.stdout and "refused" in done.stdout, done.stdout + done.stderr
    assert "not confined" not in done.stderr
    assert not Path("/tmp/private").exists()
    listed = done.stdout.split("wrote")[0].split()
    assert [name for name in listed if not name.endswith(":")] == []


@with_namespaces
def test_nothing_of_it_is_seen_outside(folder):
    before = Path("/proc/self/mountinfo").read_text()
    confined("true", writable=[str(folder)])
    assert Path("/proc/self/mountinfo").read_text() == before


@with_namespaces
def test_without_mount_setattr_each_mount_is_made_read_only(folder):
    """As on Linux before 5.12."""
    old = (
        "import manylab.system.namespaces as n\ndef no(*a, **k): raise OSError(38, 'not here')\nn._mount_setattr = no\n"
    )
    code = f"import sys; sys.path.insert(0, {str(SRC)!r})\n{old}{CALL}"
    script = f"touch /etc/manylab-test 2>/dev/null && echo wrote; touch {folder}/mine && echo fine"
    wish = {**WISH, "account": None, "writable": [str(folder)]}
    shutil.chown(folder, "root")
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps(wish), "/bin/sh", "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "fine\n", done.stderr
    assert "not confined" not in done.stderr


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_where_namespaces_are_denied_it_says_so_and_still_gives_up_everything_else():
    done = confined(
        "cat /proc/self/status", before=("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    )
    assert "not confined: unshare" in done.stderr
    status = status_of(done)
    assert status["Uid"].split()[0] == str(pwd.getpwnam("nobody").pw_uid)
    assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_an_ordinary_users_service_keeps_its_identity_and_gains_nothing():
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("no Python that everybody can run")
    before = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all")
    wish = json.dumps({**WISH, "account": None})
    done = subprocess.run(
        [*before, python, "-I", "-c", HELPER, wish, "/bin/cat", "/proc/self/status"], capture_output=True, text=True
    )
    assert "not confined" in done.stderr
    assert status_of(done)["NoNewPrivs"].strip() == "1"


@as_root
def test_an_account_that_does_not_exist_means_not_running_at_all():
    done = confined("echo ran", account="no-such-account")
    assert done.returncode == 126 and done.stdout == ""


def test_a_drop_that_did_not_take_is_noticed():
    ids = Ids(33, 33, (33,))
    wish = type("W", (), {"confine": True})()
    good = (
        "Uid:\t33\t33\t33\t33\nGid:\t33\t33\t33\t33\nGroups:\t33 \n"
        "CapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapAmb:\t0\nNoNewPrivs:\t1\n"
    )
    for wrong in (
        good.replace("CapEff:\t0", "CapEff:\t400"),
        good.replace("Uid:\t33\t33\t33", "Uid:\t33\t33\t0"),
        good.replace("Groups:\t33", "Groups:\t0 33"),
        good.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
    ):
        with pytest.raises(NotDropped):
            verify(wrong, ids, [], wish)
