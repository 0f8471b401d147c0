"""The supervisor with real processes.

The services are stand-ins: a few lines of Python that listen on a unix socket, note that they started and, for the one
named warden, start a `person's server` in a session of its own and answer {"do": "stop-all"} by ending it.
Nothing is stubbed between `python -I -m manylab.supervise` and the kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manylab.model.units import OOM_SCORE
from manylab.supervise import children, control, processes
from manylab.supervise.definition import Service
from manylab.supervise.record import living_services, read_state, supervisors
from manylab.supervise.states import FIRST_DELAY

SRC = Path(__file__).parents[2] / "src"
KILLS = int(os.environ.get("MANYLAB_TEST_KILLS", "20"))

STAND_IN = """
import json, os, socket, subprocess, sys, signal, time
name, path, starts, marker = sys.argv[1:5]
with open(starts, "a") as file:
    file.write(f"{time.monotonic()}\\n")
print(name, "starts", flush=True)
if "broken" in sys.argv[5:]:
    print("this one is broken", flush=True); sys.exit(3)
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(16)
servers = marker + ".pids"
if name == "warden" and not os.path.exists(servers):
    server = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)", marker, "server"],
                              start_new_session=True, env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL)
    open(servers, "w").write(str(server.pid))
if name == "hub":
    sleeper = [sys.executable, "-I", "-c", "import time; time.sleep(600)", marker]
    subprocess.Popen([*sleeper, "culler"], start_new_session=True)
if "stubborn" in sys.argv[5:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(0.1)
        try:
            question = connection.recv(4096)
        except OSError:
            continue
        if b"stop-all" in question:
            try:
                os.kill(int(open(servers).read()), signal.SIGKILL)
            except ProcessLookupError:
                pass
            connection.sendall(b'{"ok": true, "stopped": 1}\\n')
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory) -> str:
    """An interpreter that finds manylab with -I: an empty environment that points to the source."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "manylab.pth").write_text(f"{SRC}\n")
    return str(folder / "bin/python")


class Site:
    """A temporary site with stand-in services."""

    def __init__(self, root: Path, python: str) -> None:
        self.root, self.python = root, python
        self.state, self.logs, self.json = root / "state", root / "logs", root / "services.json"
        self.marker = str(root / "marked")
        self.stand_in = root / "stand_in.py"
        self.stand_in.write_text(STAND_IN)
        self.services = [self.service("warden"), self.service("hub"), self.service("proxy")]
        self.services[0] |= {"keeps_children": True, "before_stop": {"do": "stop-all"}}
        self.process: subprocess.Popen | None = None
        self.write()

    def service(self, name: str, *more: str, **fields: object) -> dict:
        socket = str(self.root / f"{name}.sock")
        starts = str(self.root / f"{name}.starts")
        argv = [self.python, "-I", str(self.stand_in), name, socket, starts, self.marker, *more]
        return {"name": name, "argv": argv, "ready_socket": socket, "stop_timeout": 5, **fields}

    def write(self, **fields: object) -> None:
        data = {"version": 1, "state": str(self.state), "logs": str(self.logs), "mode": "service", **fields}
        self.json.write_text(json.dumps({**data, "services": self.services}))

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        command = [self.python, "-I", "-m", "manylab.supervise", str(self.json), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def foreground(self, *arguments: str) -> subprocess.Popen:
        command = [self.python, "-I", "-m", "manylab.supervise", str(self.json), "--foreground", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.until_ready()
        return self.process

    def record(self):
        return read_state(self.state)

    def pid(self, name: str) -> int:
        pid = self.record().service(name).pid
        assert pid is not None
        return pid

    def until_ready(self, seconds: float = 60) -> None:
        def ready() -> bool:
            record = self.record()
            return (
                record is not None
                and record.ready
                and len(supervisors(record)) == 2
                and len(living_services(record)) == 3
            )

        self.until(ready, seconds)

    def until(self, condition, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"{self.record()}\n{self.log('supervisor')}"
            time.sleep(0.02)

    def log(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.logs / f"{name}.log").read_text()
        return ""

    def ours(self, *words: str) -> list[int]:
        """Living processes of this site, by their arguments; those with all of `words`."""
        found = []
        for pid in processes.everything():
            line = " ".join(processes.command_line(pid))
            if str(self.root) in line and pid != os.getpid() and all(word in line for word in words):
                found.append(pid)
        return found

    def copies(self, name: str) -> int:
        return len(self.ours("stand_in.py", f"/{name}.sock"))

    def server(self) -> int:
        return int(Path(self.marker + ".pids").read_text())


@pytest.fixture
def site(tmp_path, python):
    site = Site(tmp_path, python)
    yield site
    with contextlib.suppress(Exception):
        control.stop(site.json, timeout=10)
    if site.process is not None and site.process.poll() is None:
        site.process.kill()
    for pid in site.ours():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def started(site: Site) -> Site:
    done = site.run("--start")
    assert done.returncode == 0, done.stderr
    return site


def test_start_brings_up_the_services_in_order_and_says_when_they_are_ready(site):
    started(site)
    record = site.record()
    assert [s.state for s in record.services] == ["running"] * 3
    times = [s.started for s in record.services]
    assert times == sorted(times)
    assert site.run("--status").returncode == 0
    assert site.run("--start").returncode == 0  # LSB: starting what runs is success
    assert [site.copies(name) for name in ("warden", "hub", "proxy")] == [1, 1, 1]
    assert (site.state / "supervisor.pid").read_text().strip() == str(record.guardian.pid)


def test_stop_leaves_no_process_and_no_file_that_says_otherwise(site):
    started(site)
    server = site.server()
    assert site.run("--stop").returncode == 0
    assert site.ours() == []
    assert processes.identify(server) is None
    assert site.run("--status").returncode == 3
    assert site.run("--stop").returncode == 0


def test_stopping_for_a_restart_leaves_a_persons_server_alive(site):
    started(site)
    server = processes.identify(site.server())
    warden = site.pid("warden")
    before = site.record()
    assert site.run("--restart").returncode == 0
    site.until_ready()
    assert processes.is_alive(server)
    after = site.record()
    assert after.guardian == before.guardian, "it goes on as the process that it is, whoever asked"
    assert after.inner != before.inner
    assert site.pid("warden") != warden
    assert len(site.ours("server")) == 1


@pytest.mark.parametrize("name", ["warden", "hub", "proxy"])
def test_a_killed_service_is_back_within_seconds_and_never_twice(site, name):
    started(site)
    server = processes.identify(site.server())
    for _ in range(KILLS):
        pid = site.pid(name)
        os.kill(pid, signal.SIGKILL)
        site.until(lambda pid=pid: site.record().service(name).pid not in (None, pid), 6)
        site.until_ready()
        # A stand-in that starts its own part looks like two of itself between fork and exec; a second copy would stay.
        site.until(lambda: [site.copies(one) for one in ("warden", "hub", "proxy")] == [1, 1, 1])
        site.until(lambda: len(site.ours("culler")) == 1)  # the hub listens before it starts it
    assert processes.is_alive(server)
    assert site.record().service(name).restarts == KILLS
    assert site.run("--stop").returncode == 0
    assert site.ours() == []


@pytest.mark.parametrize("victim", ["guardian", "inner"])
def test_a_killed_supervisor_is_back_within_seconds_and_the_services_never_notice(site, victim):
    started(site)
    pids = {name: site.pid(name) for name in ("warden", "hub", "proxy")}
    for _ in range(KILLS):
        before = getattr(site.record(), victim)
        assert processes.send(before, signal.SIGKILL)
        site.until(lambda before=before: getattr(site.record(), victim) not in (None, before), 6)
        site.until_ready()
        assert {name: site.pid(name) for name in pids} == pids
        assert len(site.ours("manylab.supervise")) == 2
    assert site.run("--status").returncode == 0
    assert site.run("--stop").returncode == 0
    assert site.ours() == []


def test_after_both_supervisors_were_killed_start_adopts_and_stop_still_stops(site):
    started(site)
    pids = {name: site.pid(name) for name in ("warden", "hub", "proxy")}

    def kill_both() -> None:
        record = site.record()
        processes.send(record.guardian, signal.SIGSTOP)
        for who in (record.inner, record.guardian):
            processes.send(who, signal.SIGKILL)
        site.until(lambda: not supervisors(site.record()))

    kill_both()
    status = site.run("--status")
    assert status.returncode == 1 and "3 of its services live" in status.stdout
    started(site)
    site.until_ready()
    assert {name: site.pid(name) for name in pids} == pids
    kill_both()
    assert site.run("--stop").returncode == 0
    assert site.ours() == []


def test_a_service_that_died_while_nobody_looked_is_started_by_the_next_inner_process(site):
    started(site)
    record = site.record()
    processes.send(record.inner, signal.SIGSTOP)
    os.kill(site.pid("hub"), signal.SIGKILL)
    processes.send(record.inner, signal.SIGKILL)
    site.until(lambda: site.record().inner != record.inner)
    site.until_ready()
    site.until(lambda: (site.copies("hub"), len(site.ours("culler"))) == (1, 1))


def test_a_reused_pid_is_not_adopted_and_not_touched(site):
    started(site)
    record = site.record()
    for who in (record.guardian, record.inner):
        processes.send(who, signal.SIGSTOP)
    for who in (record.inner, record.guardian):
        processes.send(who, signal.SIGKILL)
    os.kill(site.pid("proxy"), signal.SIGKILL)
    bystander = subprocess.Popen(["sleep", "60"])
    data = json.loads((site.state / "supervisor.json").read_text())
    data["services"][2]["pid"] = bystander.pid  # as if the kernel had given the pid away
    (site.state / "supervisor.json").write_text(json.dumps(data))
    started(site)
    site.until_ready()
    assert site.pid("proxy") != bystander.pid
    site.run("--stop")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_service_that_never_starts_is_tried_ever_more_rarely(site):
    site.services[1] = site.service("hub", "broken")
    site.write()
    done = site.run("--start")
    assert done.returncode == 1
    assert "this one is broken" in done.stderr and "hub" in done.stderr

    def starts() -> list[float]:
        return [float(line) for line in (site.root / "hub.starts").read_text().split()]

    site.until(lambda: len(starts()) >= 5)
    waits = [later - earlier for earlier, later in itertools.pairwise(starts())]
    # Doubled each time. A wait begins with the end of the service before, so there is at least that between two starts.
    assert all(wait >= FIRST_DELAY * 2**number for number, wait in enumerate(waits)), waits
    assert not (site.root / "proxy.starts").exists()
    site.until(lambda: "hub backoff" in site.run("--status").stdout)
    assert site.run("--stop").returncode == 0
    assert site.ours() == []


def test_a_service_that_does_not_want_to_end_is_killed(site):
    site.services[2] = site.service("proxy", "stubborn", stop_timeout=0.5)
    site.write()
    started(site)
    begun = time.monotonic()
    assert site.run("--stop").returncode == 0
    assert time.monotonic() - begun < 8
    assert site.ours() == []


def test_reload_restarts_only_what_changed(site):
    started(site)
    before = {name: site.pid(name) for name in ("warden", "hub", "proxy")}
    site.services[1] = {**site.services[1], "revision": "2"}
    site.write()
    assert site.run("--reload").returncode == 0
    after = {name: site.pid(name) for name in before}
    assert after["hub"] != before["hub"]
    assert (after["warden"], after["proxy"]) == (before["warden"], before["proxy"])
    site.services = site.services[:2]
    site.write()
    assert site.run("--reload").returncode == 0
    assert site.copies("proxy") == 0


def test_a_wrong_services_json_does_not_end_what_runs(site):
    started(site)
    before = site.record().inner
    site.json.write_text("{")
    processes.send(site.record().guardian, signal.SIGUSR2)
    site.until(lambda: "going on as before" in site.log("supervisor"))
    assert processes.is_alive(before)
    site.write()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_in_the_foreground_a_signal_or_a_closed_terminal_stops_everything(site, number):
    process = site.foreground()
    server = site.server()
    process.send_signal(number)
    assert process.wait(60) == 0
    assert site.ours() == [] and processes.identify(server) is None
    assert b"hub is up" in process.stdout.read()
    assert not (site.state / "supervisor.json").exists()


def test_when_the_foreground_process_is_killed_everything_it_started_ends(site):
    process = site.foreground()
    server = site.server()
    process.kill()
    process.wait()
    site.until(lambda: site.ours() == [])
    assert processes.identify(server) is None


def test_a_third_ctrl_c_kills_at_once(site):
    site.services[2] = site.service("proxy", "stubborn", stop_timeout=60)
    site.write()
    process = site.foreground()
    for said in (b"Ctrl-C twice more", b"Ctrl-C once more"):
        process.send_signal(signal.SIGINT)
        while said not in (line := process.stdout.readline()):
            assert line, f"it ended without saying {said!r}"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130  # the service would have been waited for for a minute
    assert site.ours() == []


def test_a_second_supervisor_of_the_same_site_does_not_start(site):
    started(site)
    before = site.record()
    done = site.run(timeout=30)
    assert done.returncode == 75
    assert (site.record().guardian, site.record().inner) == (before.guardian, before.inner)
    assert [site.copies(name) for name in ("warden", "hub", "proxy")] == [1, 1, 1]


def test_while_the_warden_is_down_a_full_stop_still_ends_peoples_servers(site):
    started(site)
    server = site.server()
    record = site.record()
    processes.send(record.inner, signal.SIGSTOP)
    os.kill(site.pid("warden"), signal.SIGKILL)
    processes.send(record.guardian, signal.SIGTERM)
    processes.send(record.inner, signal.SIGCONT)
    site.until(lambda: site.ours() == [])
    assert processes.identify(server) is None


def test_services_get_an_environment_from_scratch_and_the_secret_is_not_in_argv(site, monkeypatch):
    monkeypatch.setenv("LEAKED", "yes")
    secret = site.root / "token.env"
    secret.write_text("# a comment\nCONFIGPROXY_AUTH_TOKEN=very=secret\n")
    secret.chmod(0o600)
    site.services[2] |= {"env_file": str(secret), "environment": {"TZ": "UTC"}}
    site.write()
    started(site)
    environment = Path(f"/proc/{site.pid('proxy')}/environ").read_bytes().split(b"\0")
    assert b"CONFIGPROXY_AUTH_TOKEN=very=secret" in environment and b"TZ=UTC" in environment
    assert not any(entry.startswith(b"LEAKED") for entry in environment)
    assert "very=secret" not in " ".join(processes.command_line(site.pid("proxy")))
    assert "very=secret" not in (site.state / "supervisor.json").read_text() + site.log("supervisor")


def oom_score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def may_end_last() -> bool:
    """Whether root may have a process ended after others here."""
    set_own = f"import pathlib; pathlib.Path('/proc/self/oom_score_adj').write_text('{OOM_SCORE}')"
    return os.geteuid() == 0 and not subprocess.run([sys.executable, "-c", set_own], stderr=subprocess.PIPE).returncode


def test_services_are_the_last_to_be_ended_when_memory_runs_out(site):
    started(site)
    wanted = OOM_SCORE if may_end_last() else oom_score("self")
    assert [oom_score(site.pid(name)) for name in ("warden", "hub", "proxy")] == [wanted] * 3


def test_root_decides_how_early_a_service_is_ended_and_nobody_else(tmp_path, monkeypatch):
    own = oom_score("self")
    monkeypatch.setattr(children, "OOM_SCORE", own + 7)  # more is allowed in every container
    who = children.start(Service("hub", ("/bin/sleep", "1000")), tmp_path / "log", "mark")
    assert who is not None
    try:
        assert oom_score(who.pid) == (own + 7 if os.geteuid() == 0 else own)
    finally:
        os.kill(who.pid, signal.SIGKILL)
        os.waitpid(who.pid, 0)


def test_a_service_of_the_same_name_in_another_site_is_never_touched(site, tmp_path_factory, python):
    """Root's site and a personal one, or a container whose processes can be seen from here."""
    other = Site(tmp_path_factory.mktemp("other"), python)
    try:
        started(other)
        started(site)
        before = [processes.identify(other.pid(name)) for name in ("warden", "hub", "proxy")]
        for name in ("warden", "hub", "proxy"):
            os.kill(site.pid(name), signal.SIGKILL)
            time.sleep(0.1)
            site.until_ready()
        assert site.run("--stop").returncode == 0
        assert all(processes.is_alive(who) for who in before)
        assert [service.restarts for service in other.record().services] == [0, 0, 0]
    finally:
        other.run("--stop")
