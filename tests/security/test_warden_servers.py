"""Starting and stopping people's servers with a real warden as root. The server is a stand-in program, not Jupyter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from manylab.system import warden_client as client
from support.warden_site import HUB, PEOPLE, READY, WEB, Site, acting_as, runs, until

ALICE = PEOPLE["mlt-alice"]


@pytest.fixture(scope="module", params=[False, True], ids=["cold", "warm"])
def warm(request):
    return request.param


@pytest.fixture(autouse=True)
def nothing_stays(site):
    yield
    if site.process.poll() is not None:
        site.up()
    assert site.ask("stop-all", uid=0)["ok"]


def test_a_server_runs_as_the_person_and_as_nobody_else(site):
    begun = time.monotonic()
    answer = site.start("mlt-alice", JUPYTERHUB_API_TOKEN="t0ken", LANG="de_DE.UTF-8")
    print(f"start answered after {time.monotonic() - begun:.3f} s")
    assert answer["ok"], answer
    report = site.report("mlt-alice")
    assert report["pid"] == answer["pid"] == report["sid"]
    assert report["uid"] == report["gid"] == [ALICE] * 3
    assert set(report["groups"]) == {ALICE, 61501}
    assert report["cwd"] == str(site.home / "mlt-alice")
    assert report["umask"] == 0o022
    assert report["fds"] == ["0", "1", "2"]
    assert report["stdin"] == "/dev/null"
    for capability in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{capability}:\t0000000000000000" in report["status"]
    assert "SigIgn:\t0000000000000000" in report["status"].replace("0000000001001000", "0" * 16)  # Python's own two
    assert "SigBlk:\t0000000000000000" in report["status"]


def test_the_environment_is_made_from_nothing_but_settings_and_permitted_names(site):
    site.start("mlt-alice", JUPYTERHUB_API_TOKEN="t0ken", LANG="de_DE.UTF-8")
    env = site.report("mlt-alice")["env"]
    runtime = site.root / "run/servers/mlt-alice/_"
    assert len(env.pop("MANYLAB_SERVER_ID")) == 16
    env.pop("LC_CTYPE", None)  # Python's own
    assert env.pop("MANYLAB_KERNELS", None) == (f"{site.root}/run/nursery" if site.warm else None)
    assert env == {
        "HOME": str(site.home / "mlt-alice"), "USER": "mlt-alice", "LOGNAME": "mlt-alice", "SHELL": "/bin/sh",
        "PATH": "/opt/env/bin:/usr/bin:/bin", "JUPYTER_PATH": "/opt/share", "LANG": "de_DE.UTF-8",
        "JUPYTERHUB_API_TOKEN": "t0ken",
        "MANYLAB_SOCKET": f"{runtime}/server.sock",
    }  # fmt: skip


def test_the_folder_of_a_server_is_open_to_its_person_and_the_web_only(site):
    answer = site.start("mlt-alice")
    folder = Path(answer["socket"]).parent
    for path, mode, group in (
        (folder.parent, 0o2710, WEB), (folder, 0o2710, WEB), (folder / "jupyter", None, None),
    ):  # fmt: skip
        found = path.stat()
        assert found.st_uid == ALICE
        assert group is None or found.st_gid == group
        assert stat.S_IMODE(found.st_mode) == mode or (mode is None and stat.S_IMODE(found.st_mode) & 0o777 == 0o700)
    assert stat.S_IMODE(folder.parent.parent.stat().st_mode) == 0o711


def test_the_token_is_in_no_argv(site):
    site.start("mlt-alice", JUPYTERHUB_API_TOKEN="very-secret-token")
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "very-secret-token" not in lines
    assert "very-secret-token" not in site.log.read_text()


def test_starting_a_running_server_gives_the_same_server(site):
    first = site.start("mlt-alice")
    assert site.ask("start", user="mlt-alice", server="", env={}) == first
    named = site.ask("start", user="mlt-alice", server="second", env={})
    assert named["ok"] and named["pid"] != first["pid"]
    assert [(s["user"], s["server"]) for s in site.ask("list")["servers"]] == [
        ("mlt-alice", ""),
        ("mlt-alice", "second"),
    ]


LATE = f"""
import json, os, time
new = os.environ["HOME"] + "/report.new"
open(new, "w").write(json.dumps({{"pid": os.getpid(), "env": dict(os.environ)}}))
os.rename(new, os.environ["HOME"] + "/report.json")
time.sleep(1)
{READY}
time.sleep(1000)
"""


def test_a_server_whose_asker_is_gone_is_ended_and_the_next_start_is_a_new_one(site):
    """As when the hub is killed: nobody has the answer, and the next hub makes another token."""
    site.serve(LATE)
    (site.home / "mlt-alice/report.json").unlink(missing_ok=True)
    try:
        question = {"do": "start", "user": "mlt-alice", "server": "", "env": {"JUPYTERHUB_API_TOKEN": "first"}}
        with socket.socket(socket.AF_UNIX) as hub:
            with acting_as(HUB):
                hub.connect(str(site.socket))
            hub.sendall(json.dumps(question).encode() + b"\n")
            first = site.report("mlt-alice")
        answer = site.start("mlt-alice", JUPYTERHUB_API_TOKEN="second")
        second = site.report("mlt-alice")
        assert (first["env"]["JUPYTERHUB_API_TOKEN"], second["env"]["JUPYTERHUB_API_TOKEN"]) == ("first", "second")
        assert answer["pid"] == second["pid"] != first["pid"]
        assert not runs(first["pid"])
        assert [one["pid"] for one in site.ask("list")["servers"]] == [second["pid"]]
    finally:
        site.serve(None)


def test_stopping_ends_everything_that_the_server_started_even_what_was_orphaned(site):
    answer = site.start("mlt-alice")
    children = site.report("mlt-alice")["children"]
    assert all(map(runs, children))
    begun = time.monotonic()
    assert site.ask("stop", user="mlt-alice", server="", now=False) == {"ok": True, "was": "running"}
    print(f"stop answered after {time.monotonic() - begun:.3f} s")
    left = [pid for pid in children if runs(pid)]
    if left == children[3:] and Path("/proc/self/sessionid").exists() is False:
        pytest.skip("a process with an emptied environment is found by its audit session, which this kernel has not")
    assert left == []
    assert not runs(answer["pid"])
    assert site.ask("stop", user="mlt-alice", server="", now=False) == {"ok": True, "was": "gone"}
    assert site.ask("status", user="mlt-alice", server="")["exit"] == -signal.SIGTERM


def test_a_server_that_ignores_sigterm_is_killed(site):
    program = "import signal, time; signal.signal(15, signal.SIG_IGN)" + READY + "time.sleep(1000)"
    site.serve(program)
    answer = site.start("mlt-alice")
    begun = time.monotonic()
    assert site.ask("stop", user="mlt-alice", server="", now=True)["was"] == "running"
    assert 0.9 < time.monotonic() - begun < 4
    assert not runs(answer["pid"])
    assert site.ask("status", user="mlt-alice", server="")["exit"] == -signal.SIGKILL
    site.serve(None)


def test_what_a_crashed_server_leaves_behind_is_ended_too(site):
    answer = site.start("mlt-alice")
    children = site.report("mlt-alice")["children"]
    os.kill(answer["pid"], signal.SIGSEGV)
    until(lambda: not any(map(runs, children)))
    assert site.ask("status", user="mlt-alice", server="") == {
        "ok": True, "state": "exited", "pid": None, "exit": -signal.SIGSEGV,
    }  # fmt: skip


def test_another_persons_processes_are_left_alone(site):
    site.start("mlt-alice")
    site.start("mlt-bob")
    bobs = site.report("mlt-bob")["children"]
    site.report("mlt-alice")
    site.ask("stop", user="mlt-alice", server="", now=True)
    assert all(map(runs, bobs))


def test_one_server_of_a_person_ends_without_the_other(site):
    site.start("mlt-alice")
    first = site.report("mlt-alice")
    site.start("mlt-alice", "second")
    second = site.report("mlt-alice")
    site.ask("stop", user="mlt-alice", server="second", now=True)
    assert not any(map(runs, second["children"]))
    assert all(map(runs, [first["pid"], *first["children"]]))


def test_a_person_without_a_home_gets_no_server_and_a_reason(site):
    answer = site.ask("start", user="mlt-homeless", server="", env={})
    assert (answer["ok"], answer["reason"]) == (False, "no-home")
    assert "does not exist" in answer["message"]
    (site.home / "mlt-bob").chmod(0)
    try:  # root could enter it; the check is made as the person. They own it, so only the mode keeps them out.
        assert site.ask("start", user="mlt-bob", server="", env={})["reason"] == "home-closed"
    finally:
        (site.home / "mlt-bob").chmod(0o700)
    assert site.ask("list")["servers"] == []


@pytest.mark.parametrize("command", [["/nonexistent/python"], ["/etc/hostname"]])
def test_a_program_that_cannot_run_is_a_start_that_failed(site, command):
    site.write_settings(command=command, nurseries=[])
    answer = site.start("mlt-alice")
    assert (answer["ok"], answer["reason"]) == (False, "start-failed")
    assert command[0] in answer["message"]
    site.write_settings()
    assert list((site.root / "run/warden/registry").glob("*.json")) == []


def test_settings_count_from_the_next_start_and_bad_ones_leave_the_old(site):
    site.write_settings(environment={"JUPYTER_PATH": "/changed"})
    site.start("mlt-alice")
    assert site.report("mlt-alice")["env"]["JUPYTER_PATH"] == "/changed"
    site.ask("stop", user="mlt-alice", server="", now=True)
    site.write_settings(command=["relative"])
    site.start("mlt-alice")
    assert site.report("mlt-alice")["env"]["JUPYTER_PATH"] == "/changed"
    site.write_settings()


def test_what_a_server_prints_is_in_its_log_which_only_root_reads(site):
    site.start("mlt-alice")
    log = site.root / "logs/server-mlt-alice.log"
    until(lambda: "a line for the log" in log.read_text())
    assert (log.stat().st_uid, stat.S_IMODE(log.stat().st_mode)) == (0, 0o640)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_servers_outlive_the_warden_and_the_next_one_knows_them(site, how):
    answer = site.start("mlt-alice")
    children = site.report("mlt-alice")["children"]
    site.down(how)
    assert all(map(runs, [answer["pid"], *children]))
    site.up()
    listed = site.ask("list")["servers"]
    assert [(s["user"], s["pid"], s["socket"]) for s in listed] == [("mlt-alice", answer["pid"], answer["socket"])]
    assert site.ask("start", user="mlt-alice", server="", env={}) == answer
    assert site.ask("stop", user="mlt-alice", server="", now=False)["was"] == "running"
    assert not any(map(runs, [answer["pid"], *children]))
    assert site.ask("status", user="mlt-alice", server="") == {"ok": True, "state": "exited", "pid": None, "exit": None}


def test_what_a_server_left_behind_while_no_warden_looked_is_ended(site):
    answer = site.start("mlt-alice")
    children = site.report("mlt-alice")["children"]
    site.down(signal.SIGKILL)
    os.kill(answer["pid"], signal.SIGKILL)
    site.up()
    assert site.ask("list")["servers"] == []
    until(lambda: not any(map(runs, children)))
    until(lambda: list((site.root / "run/warden/registry").glob("*.json")) == [])


def test_a_process_that_got_the_number_of_a_server_is_not_taken_for_it(site):
    answer = site.start("mlt-alice")
    registry = site.root / "run/warden/registry"
    entry = json.loads((registry / "mlt-alice+_.json").read_text())
    site.ask("stop", user="mlt-alice", server="", now=True)
    site.down(signal.SIGKILL)
    # Processes that belong to nobody here: one with another starttime, one of another account.
    other = subprocess.Popen(["sleep", "1000"], user=ALICE, group=ALICE, extra_groups=[])
    roots = subprocess.Popen(["sleep", "1000"])
    try:
        true_start = int(Path(f"/proc/{roots.pid}/stat").read_text().rpartition(")")[2].split()[19])
        wrong = [
            ("mlt-alice", "_", {"pid": other.pid}),
            ("mlt-alice", "b", {"server": "b", "pid": roots.pid, "starttime": true_start}),
            ("mlt-alice", "c", {"server": "c", "boot": "another"}),
            ("mlt-alice", "d", {"server": "other-than-the-file"}),
            ("mlt-alice", "e", {"server": "e", "pid": "1"}),
            ("mlt-alice", "f", {"server": "f", "user": "../../etc"}),
        ]
        for user, name, changes in wrong:
            (registry / f"{user}+{name}.json").write_text(json.dumps({**entry, **changes}))
        (registry / "garbage.json").write_bytes(b"\xff{")
        site.up()
        assert site.ask("list")["servers"] == []
        for name in ("", "b"):
            assert site.ask("stop", user="mlt-alice", server=name, now=True)["was"] == "gone"
        until(lambda: list(registry.glob("*.json")) == [])
        assert other.poll() is None and roots.poll() is None
    finally:
        for process in (other, roots):
            process.kill()
            process.wait()
    assert not runs(answer["pid"])


def test_two_wardens_do_not_share_a_registry(site):
    argv = site.inside(site.python, "-I", "-m", "manylab.warden", site.root / "warden.json")
    second = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert second.returncode == 1
    assert "another warden" in second.stderr
    assert site.ask("list")["ok"]


def test_many_starts_at_once_all_succeed(site):
    names, answers = [f"s{number}" for number in range(20)], []

    def start(name: str) -> None:
        question = {"do": "start", "user": "mlt-alice", "server": name, "env": {}}
        answers.append(client.ask_sync(site.socket, question, 60))

    begun = time.monotonic()
    threads = [threading.Thread(target=start, args=(name,)) for name in names * 2]  # each asked for twice
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"20 servers, each asked for twice, after {time.monotonic() - begun:.2f} s")
    assert all(answer["ok"] for answer in answers)
    assert len({answer["pid"] for answer in answers}) == 20
    begun = time.monotonic()
    assert site.ask("stop-all") == {"ok": True, "stopped": 20}
    print(f"stopped after {time.monotonic() - begun:.2f} s")


def test_the_copy_of_etc_is_what_the_site_sees_and_nobody_else():
    site = Site()
    try:
        site.run("getent", "passwd", "mlt-alice")
        assert subprocess.run(["getent", "passwd", "mlt-alice"], capture_output=True, check=False).returncode != 0
    finally:
        shutil.rmtree(site.root)
