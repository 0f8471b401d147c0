"""What somebody can do who has taken over the hub, is another account, or sends garbage: nothing that matters."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from manylab.system import warden_client as client
from support.warden_site import HUB, PEOPLE, STRANGER, Site, acting_as, runs, until

ALICE = PEOPLE["mlt-alice"]


@pytest.fixture(scope="module")
def site():
    made = Site()
    made.up()
    pid = made.process.pid
    yield made
    lives = made.process.pid == pid and made.process.poll() is None
    made.close()
    assert lives, "the warden died"


def connect(site: Site, timeout: float = 10.0) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    for _ in range(400):
        try:
            connection.connect(str(site.socket))
            return connection
        except BlockingIOError:
            time.sleep(0.02)
    raise AssertionError("could not connect")


def throw(site: Site, data: bytes, *, finish: bool = True) -> bytes:
    """Send bytes and return whatever comes back."""
    with connect(site) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def is_well(site: Site) -> bool:
    return site.ask("list")["ok"] and site.process.poll() is None


texts = st.text(max_size=300)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
verbs = st.sampled_from(["start", "stop", "status", "list", "authenticate", "stop-all ", "START", ""])
shaped = st.fixed_dictionaries(
    {"do": verbs},
    optional=dict.fromkeys(("user", "server", "env", "now", "password", "pid", "uid", "command"), anything),
).filter(lambda question: not (question["do"] == "authenticate" and set(question) == {"do", "user", "password"}))
fuzz = hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@fuzz
@given(data=st.binary(max_size=2000))
def test_any_bytes_get_a_polite_no(site, data):
    answer = json.loads(throw(site, data))
    assert answer["ok"] is False and answer["reason"] == "bad-message"


@fuzz
@given(question=shaped)
def test_any_question_of_about_the_right_shape_gets_one_answer(site, question):
    answer = throw(site, json.dumps(question).encode() + b"\n")
    assert isinstance(json.loads(answer)["ok"], bool) and answer.count(b"\n") == 1


def test_questions_cut_short_at_every_byte_get_a_polite_no(site):
    whole = json.dumps({"do": "status", "user": "mlt-alice", "server": ""}).encode() + b"\n"
    for length in range(len(whole)):
        assert json.loads(throw(site, whole[:length]))["reason"] == "bad-message"
    assert json.loads(throw(site, whole))["state"]


def test_huge_and_deep_questions_get_a_polite_no(site):
    for data in (
        b"x" * 10_000_000,
        b"[" * 60_000 + b"\n",
        b'{"a":' * 10_000 + b"\n",
        b"9" * 60_000 + b"\n",
        b"\n" * 99,
    ):
        answer = throw(site, data)
        assert answer == b"" or json.loads(answer)["reason"] == "bad-message"
    assert is_well(site)


def test_only_the_first_question_of_a_connection_is_answered(site):
    line = b'{"do":"list"}\n'
    assert throw(site, line * 50).count(b"\n") == 1


def test_peers_that_vanish_or_do_not_read_hold_up_nobody(site):
    for _ in range(200):
        with connect(site) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.send(random.choice([b"", b"{", b'{"do":"list"}\n']))
    assert is_well(site)


def test_slow_peers_are_cut_off_after_five_seconds_and_delay_nobody(site):
    with acting_as(HUB):
        slow = [connect(site, 20) for _ in range(300)]
    try:
        for connection in slow:
            with contextlib.suppress(ConnectionError):
                connection.send(b"{")
        # The hub has used up its connections and is told so at once; root still gets an answer.
        begun = time.monotonic()
        assert site.ask("list", uid=HUB)["reason"] == "busy"
        assert site.ask("list", uid=0)["ok"]
        assert time.monotonic() - begun < 4  # these connections are cut off after 5 s
        begun = time.monotonic()
        while time.monotonic() - begun < 5.5:  # a byte now and then buys no time
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.send(b" ")
            time.sleep(0.5)
        assert site.ask("list", uid=HUB)["ok"]
    finally:
        for connection in slow:
            connection.close()


def test_a_thousand_connections_at_once_and_root_is_answered_meanwhile(site):
    line = b'{"do":"status","user":"mlt-alice","server":""}\n'
    with acting_as(HUB):
        many = [connect(site, 20) for _ in range(1000)]
    begun = time.monotonic()
    assert site.ask("list", uid=0)["ok"]
    print(f"root was answered after {time.monotonic() - begun:.3f} s while 1000 connections were open")
    answers = []
    for connection in many:
        with contextlib.suppress(ConnectionError):
            connection.sendall(line)
        with contextlib.suppress(ConnectionError):
            answers.append(json.loads(connection.makefile("rb").readline() or b"{}"))
        connection.close()
    assert len(answers) == 1000
    assert sum(answer.get("state") == "unknown" for answer in answers) >= 256
    assert all(answer.get("state") == "unknown" or answer.get("reason") == "busy" for answer in answers)
    descriptors = len(list(Path(f"/proc/{site.process.pid}/fd").iterdir()))
    assert descriptors < 40, descriptors


def test_a_thousand_questions_from_fifty_threads_are_all_answered(site):
    def one(_: int) -> bool:
        return b'"ok": true' in throw(site, b'{"do":"list"}\n')

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(1000)))
    print(f"1000 questions in {time.monotonic() - begun:.2f} s")


def test_another_account_cannot_connect_and_is_refused_when_it_could(site):
    with acting_as(STRANGER), pytest.raises(PermissionError):
        connect(site)
    with acting_as(ALICE), pytest.raises(PermissionError):
        connect(site)
    site.socket.chmod(0o666)  # as if an administrator had made a mistake: the peer's uid counts
    try:
        for uid in (STRANGER, ALICE, 65534):
            assert site.ask("stop-all", uid=uid)["reason"] == "forbidden"
            assert site.ask("start", uid=uid, user="mlt-alice", server="", env={})["reason"] == "forbidden"
    finally:
        site.socket.chmod(0o600)


def test_the_socket_and_its_folder_are_as_the_contract_says(site):
    found = site.socket.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (HUB, 0o600)
    folder = site.socket.parent.stat()
    assert (folder.st_uid, stat.S_IMODE(folder.st_mode)) == (0, 0o711)
    assert stat.S_IMODE((site.socket.parent / "registry").stat().st_mode) == 0o700
    assert sorted(path.name for path in site.socket.parent.iterdir()) == ["place.sock", "registry", "warden.sock"]


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("root", "system-account"),
        ("mlt-system", "system-account"),
        ("_mlt-daemon", "system-account"),
        ("mlt-hub", "system-account"),
        ("nobody", "system-account"),
        ("daemon", "system-account"),
        ("mlt-eve", "not-member"),
        ("mlt-noshell", "locked"),
        ("mlt-nobody-here", "unknown"),
        ("../mlt-alice", "bad-message"),
        ("mlt-alice\n", "bad-message"),
        ("0", "unknown"),  # no account is called that, and a number is no uid
        ("a,b", "bad-message"),
    ],
)
def test_a_taken_over_hub_starts_servers_of_members_only(site, user, reason):
    answer = site.ask("start", user=user, server="", env={})
    assert (answer["ok"], answer["reason"]) == (False, reason)
    assert site.ask("list")["servers"] == []


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "HOME", "PYTHONPATH", "PYTHONSTARTUP", "JUPYTER_PATH",
     "JUPYTER_CONFIG_DIR", "MANYLAB_SOCKET", "MANYLAB_SERVER_ID", "SHELL", "BASH_ENV", "LC_ALL=x", "JUPYTERHUB_X\0PATH",
     "jupyterhub_x", "", "LOCPATH"],
)  # fmt: skip
def test_a_taken_over_hub_sets_no_variable_that_changes_the_program(site, name):
    answer = site.ask("start", user="mlt-alice", server="", env={name: "/tmp/evil.so"})
    assert (answer["ok"], answer["reason"]) == (False, "bad-message")


def test_a_value_cannot_smuggle_another_variable_in(site):
    for value in ("x\0LD_PRELOAD=/tmp/evil.so", "x\nLD_PRELOAD=/tmp/evil.so", "\ud800", 5, None, ["x"]):
        answer = site.ask("start", user="mlt-alice", server="", env={"JUPYTERHUB_X": value})
        assert (answer["ok"], answer["reason"]) == (False, "bad-message")


@pytest.mark.parametrize("server", ["../bob", "/etc", "..", ".", "a/b", "_", "A", "a--b", "a\n", "a" * 31])
def test_a_servers_name_is_no_path(site, server):
    assert site.ask("start", user="mlt-alice", server=server, env={})["reason"] == "bad-message"


def test_a_link_that_the_person_planted_leads_the_warden_nowhere(site):
    target = site.root / "precious"
    target.mkdir(mode=0o700)
    (target / "file").write_text("root's")
    before = target.stat()
    site.start("mlt-alice")
    site.report("mlt-alice")
    site.ask("stop", user="mlt-alice", server="", now=True)
    mine = site.root / "run/servers/mlt-alice"
    as_alice = {"user": ALICE, "group": ALICE, "extra_groups": [], "check": True, "cwd": mine}
    for plant in (
        f"rm -rf _; ln -s {target} _",
        f"rm -rf _; mkdir _; ln -s {target} _/jupyter; ln -s {target}/file _/server.sock",
        f"rm -rf _; mkdir -p _/deep/er; ln -s {target} _/deep/er/link; chmod 0 _/deep",
        "rm -rf _ || chmod 700 _/deep && rm -rf _; echo file > _",
        "rm -rf _; mkfifo _",
    ):
        subprocess.run(["sh", "-c", plant], stderr=subprocess.DEVNULL, **as_alice)
        answer = site.start("mlt-alice")
        after = target.stat()
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
        assert [path.name for path in target.iterdir()] == ["file"]
        assert (target / "file").read_text() == "root's"
        assert answer["ok"] or answer["reason"] == "start-failed"
        if answer["ok"]:
            found = (mine / "_").lstat()
            assert stat.S_ISDIR(found.st_mode) and found.st_uid == ALICE
            site.ask("stop", user="mlt-alice", server="", now=True)


def test_a_link_race_while_servers_start_leads_the_warden_nowhere(site):
    target = site.root / "precious2"
    target.mkdir(mode=0o700)
    site.start("mlt-alice")
    mine = site.root / "run/servers/mlt-alice"
    racer = subprocess.Popen(
        ["sh", "-c", f"while :; do rm -rf race; ln -s {target} race; rm -rf race; mkdir race; done"],
        user=ALICE, group=ALICE, extra_groups=[], cwd=mine, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(40):
            site.ask("start", user="mlt-alice", server="race", env={})
            site.ask("stop", user="mlt-alice", server="race", now=True)
    finally:
        racer.kill()
        racer.wait()
        site.ask("stop-all")
    found = target.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode), list(target.iterdir())) == (0, 0o700, [])


def test_a_folder_left_by_an_earlier_account_of_that_name_is_replaced(site):
    folder = site.root / "run/servers/mlt-bob"
    folder.mkdir(mode=0o777, parents=True)
    (folder / "_").symlink_to("/etc")
    os.chown(folder, STRANGER, STRANGER)
    answer = site.start("mlt-bob")
    assert answer["ok"]
    assert folder.stat().st_uid == PEOPLE["mlt-bob"]
    site.ask("stop-all")


def test_the_memory_of_the_warden_is_closed_to_the_hub(site):
    for uid in (HUB, ALICE):
        for name in ("mem", "environ", "fd", "maps"):
            path = f"/proc/{site.process.pid}/{name}"
            program = f"import os; os.listdir({path!r})" if name == "fd" else f"open({path!r}, 'rb').read(1)"
            done = subprocess.run(
                ["/usr/bin/python3", "-c", program], user=uid, group=uid, extra_groups=[],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert "PermissionError" in done.stderr, (uid, name)


def test_a_marker_that_a_person_forges_ends_nobody_elses_process(site):
    site.start("mlt-alice")
    marker = site.report("mlt-alice")["env"]["MANYLAB_SERVER_ID"]
    env = {"MANYLAB_SERVER_ID": marker, "PATH": "/usr/bin:/bin"}
    bobs = subprocess.Popen(["sleep", "1000"], env=env, user=PEOPLE["mlt-bob"], group=WEB_OF_NOBODY, extra_groups=[])
    roots = subprocess.Popen(["sleep", "1000"], env=env)
    try:
        site.ask("stop", user="mlt-alice", server="", now=True)
        assert bobs.poll() is None and roots.poll() is None
    finally:
        for process in (bobs, roots):
            process.kill()
            process.wait()


WEB_OF_NOBODY = 61777


def test_a_warden_refuses_settings_that_somebody_else_could_have_written(site):
    path = site.root / "other.json"
    path.write_text((site.root / "warden.json").read_text())
    for change in (lambda: path.chmod(0o666), lambda: path.chmod(0o664), lambda: os.chown(path, ALICE, ALICE)):
        os.chown(path, 0, 0)
        path.chmod(0o644)
        change()
        argv = site.inside(site.python, "-I", "-m", "manylab.warden", path)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 1 and "Traceback" not in done.stderr


def test_an_ordinary_user_serves_themselves_and_nobody_else(site):
    own = site.home / "mlt-bob"
    python = site.readable_python()
    settings = {
        **site.settings, "python": python, "hub_uid": PEOPLE["mlt-bob"], "person_uid": PEOPLE["mlt-bob"],
        "web_group": None,
        "socket": f"{own}/run/warden/warden.sock", "registry": f"{own}/run/warden/registry",
        "servers": f"{own}/run/servers", "log_dir": f"{own}/logs",
    }  # fmt: skip
    path = own / "warden.json"
    path.write_text(json.dumps(settings))
    os.chown(path, PEOPLE["mlt-bob"], PEOPLE["mlt-bob"])
    argv = site.inside("setpriv", f"--reuid={PEOPLE['mlt-bob']}", f"--regid={PEOPLE['mlt-bob']}", "--clear-groups",
                       python, "-I", "-m", "manylab.warden", path)  # fmt: skip
    process = subprocess.Popen(argv, cwd="/", stderr=subprocess.DEVNULL)
    try:
        sock = own / "run/warden/warden.sock"
        until(sock.exists)
        for user in ("mlt-alice", "root"):
            assert not client.ask_sync(sock, {"do": "start", "user": user, "server": "", "env": {}})["ok"]
        answer = client.ask_sync(sock, {"do": "start", "user": "mlt-bob", "server": "", "env": {}})
        assert answer["ok"], answer
        children = site.report("mlt-bob")["children"]
        assert client.ask_sync(sock, {"do": "stop", "user": "mlt-bob", "server": "", "now": True})["was"] == "running"
        assert not any(map(runs, children[:3]))
        for pid in children[3:]:  # an emptied environment and a double fork: needs the audit session, which needs root
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        process.terminate()
        process.wait()
