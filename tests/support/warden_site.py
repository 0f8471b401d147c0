"""A real warden, started as root, on a copy of /etc that only it sees. Used by tests/security.

The accounts are made in that copy (a private mount namespace), so the machine's own accounts are never touched. Instead
of Jupyter the servers run STAND_IN, a small program that writes down what it was given and starts processes that are
hard to find again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pamela
import pytest

import manylab
from manylab.system import warden_client as client

HUB, STRANGER, NURSERY = 61990, 61991, 61992
PEOPLE = {"mlt-alice": 61001, "mlt-bob": 61002, "mlt-eve": 61003, "mlt-locked": 61004, "mlt-gone": 61005}
PEOPLE |= {"mlt-stale": 61006, "mlt-noshell": 61007, "mlt-homeless": 61008, "mlt-open": 61009}
WEB, GROUP = 61500, 61501
PASSWORD = "correct horse äöü"

# What a server says when one can connect to it, and then knows nothing more of.
READY = """
import os
line = int(os.environ.pop("MANYLAB_READY_FD"))
os.write(line, b"ready\\n")
os.close(line)
"""

STAND_IN = (
    READY
    + """
import json, os, subprocess, sys, time
def orphan(command, **more):
    # a double fork: the parent of what stays is nobody of this server
    return int(subprocess.check_output(["/bin/sh", "-c", command + " >/dev/null 2>&1 & echo $!"], **more))
children = [
    subprocess.Popen(["/bin/sleep", "1001"]).pid,
    subprocess.Popen(["/bin/sleep", "1002"], start_new_session=True).pid,
    orphan("exec setsid /bin/sleep 1003"),
    orphan("exec /usr/bin/env -i /usr/bin/setsid /bin/sleep 1004"),
]
mask = os.umask(0)
os.umask(mask)
report = {
    "env": dict(os.environ), "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "cwd": os.getcwd(),
    "umask": mask, "sid": os.getsid(0), "pid": os.getpid(), "fds": sorted(os.listdir("/proc/self/fd"))[:-1],
    "stdin": os.readlink("/proc/self/fd/0"), "status": open("/proc/self/status").read(), "children": children,
}
path = os.environ["HOME"] + "/report.json"
new = f"{path}.{os.getpid()}"
open(new, "w").write(json.dumps(report))
os.rename(new, path)
print("a line for the log", flush=True)
time.sleep(1000)
"""
)


# What a child of the nursery runs in the place of Jupyter: the same, or what the person has in their home.
ENTRY = f"""
import os, sys
STAND_IN = {STAND_IN!r}
def run(environ):
    os.environ.clear()
    os.environ.update(environ)
    own = os.environ["HOME"] + "/program.py"
    exec(open(own).read() if os.path.exists(own) else STAND_IN, {{}})
"""


def needs_root() -> None:
    """Skip, saying why, where this machine cannot run these tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the warden becomes other accounts")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a private mount namespace (unshare --mount is not allowed here)")


def until(condition, seconds: float = 60.0):
    """What the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.02)
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def acting_as(uid: int):
    """SO_PEERCRED and file permissions both go by the effective uid."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Site:
    """warm: servers are forked by a nursery."""

    def __init__(self, warm: bool = False) -> None:
        needs_root()
        self.warm = warm
        self.root = Path(tempfile.mkdtemp(prefix="mlt", dir="/tmp"))
        self.root.chmod(0o755)
        self.etc, self.home = self.root / "etc", self.root / "home"
        subprocess.run(["cp", "-a", "/etc", self.etc], check=True)
        self.home.mkdir()
        # As in Debian's common-auth.
        (self.etc / "pam.d/mlt").write_text("auth required pam_unix.so nullok\naccount required pam_unix.so\n")
        self.python = self._venv("/usr/bin/python3") if warm else self._python()
        self.settings = {
            "version": 1, "hub_uid": HUB, "person_uid": None, "group": "mlt-people", "min_uid": 1000,
            "pam_service": "mlt", "web_group": "mlt-web", "socket": f"{self.root}/run/warden/warden.sock",
            "registry": f"{self.root}/run/warden/registry", "servers": f"{self.root}/run/servers",
            "python": self.python, "command": ["/usr/bin/python3", "-I", "-c", STAND_IN],
            "path": ["/opt/env/bin", "/usr/bin", "/bin"], "environment": {"JUPYTER_PATH": "/opt/share"},
            "scopes": None, "slice": None, "memory": None, "cpu": None, "tasks": None, "log_dir": f"{self.root}/logs",
        }  # fmt: skip
        if warm:
            command = [self.python, "-I", "-m", "manylab.warm.nursery"]
            nursery = {"name": "server", "kind": "server", "command": command, "modules": ["mlt_entry"]}
            self.settings |= {"nursery_uid": NURSERY, "nursery_run": f"{self.root}/run/nursery"}
            self.settings |= {"entry": "mlt_entry:run", "nurseries": [nursery]}
        self.socket = Path(self.settings["socket"])
        self.log = self.root / "warden.log"
        self.process: subprocess.Popen | None = None
        self._accounts()

    def _python(self) -> str:
        """A Python for `-I -m manylab.warden`: this one, or one with the same packages in a venv of its own."""
        ready = [sys.executable, "-I", "-c", "import manylab.warden, pamela"]
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return sys.executable
        return self._venv(sys.executable)

    def readable_python(self) -> str:
        """A Python that everybody can run, not only root."""
        if not Path(self.python).resolve().is_relative_to("/root"):
            return self.python
        return self._venv("/usr/bin/python3")

    def _venv(self, python: str) -> str:
        venv = self.root / "venv"
        subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
        site = next((venv / "lib").glob("python*/site-packages"))
        source = Path(manylab.__file__).parent.parent
        (site / "manylab.pth").write_text(f"{source}\n{Path(pamela.__file__).parent}\n")
        (site / "mlt_entry.py").write_text(ENTRY)
        return str(venv / "bin/python")

    def inside(self, *argv: object) -> list[str]:
        """The command line that runs argv where /etc is this site's copy."""
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(self.etc), *map(str, argv)]

    def run(self, *argv: object, given: str = "") -> None:
        done = subprocess.run(self.inside(*argv), input=given, text=True, capture_output=True, check=False)
        assert done.returncode == 0, (argv, done.stderr)

    def _accounts(self) -> None:
        self.run("groupadd", "-g", WEB, "mlt-web")
        self.run("groupadd", "-g", GROUP, "mlt-people")
        for name, uid in PEOPLE.items():
            more = [] if name == "mlt-eve" else ["-G", "mlt-people"]  # eve is no member
            shell = "/usr/sbin/nologin" if name == "mlt-noshell" else "/bin/sh"
            self.run("groupadd", "-g", uid, name)
            self.run("useradd", "-u", uid, "-g", uid, "-M", "-d", self.home / name, "-s", shell, *more, name)
            if name != "mlt-homeless":
                (self.home / name).mkdir(mode=0o700)
                os.chown(self.home / name, uid, uid)
        self.run("useradd", "-u", 61100, "-M", "-s", "/bin/sh", "-G", "mlt-people", "_mlt-daemon")
        self.run("useradd", "-u", 877, "-M", "-s", "/bin/sh", "-G", "mlt-people", "mlt-system")
        self.run("useradd", "-u", HUB, "-M", "-s", "/bin/sh", "-G", "mlt-people", "mlt-hub")
        self.run("useradd", "-u", NURSERY, "-M", "-s", "/usr/sbin/nologin", "mlt-nursery")
        everyone = [*PEOPLE, "_mlt-daemon", "mlt-system", "mlt-hub", "root"]
        self.run("chpasswd", given="".join(f"{name}:{PASSWORD}\n" for name in everyone))
        self.run("usermod", "-L", "mlt-locked")
        self.run("passwd", "-d", "mlt-open")
        self.run("chage", "-E", "0", "mlt-gone")
        self.run("chage", "-d", "0", "mlt-stale")

    def write_settings(self, **changes: object) -> Path:
        path = self.root / "warden.json"
        path.write_text(json.dumps({**self.settings, **changes}))
        path.chmod(0o644)
        return path

    def up(self, **changes: object) -> None:
        path = self.write_settings(**changes)
        with self.log.open("ab") as log:
            # It ends with whoever runs the tests, however they end.
            bound = ("setpriv", "--pdeathsig", "KILL", "--")
            argv = self.inside(*bound, self.python, "-I", "-m", "manylab.warden", path)
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        try:
            until(lambda: self._answers() or self.process.poll() is not None)
            assert self.process.poll() is None, self.log.read_text()
            if self.warm and changes.get("nurseries") != []:
                until((self.root / "run/nursery/server.sock").exists, 30.0)
        except BaseException:  # a fixture that fails here closes nothing
            self.process.kill()
            self.process.wait()
            raise

    def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            return client.ask_sync(self.socket, {"do": "list"}, 10)["ok"]
        return False

    def down(self, number: int = 15) -> int:
        """End the warden, not its servers; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def ask(self, do: str, uid: int = HUB, **fields: object) -> dict:
        with acting_as(uid):
            return client.ask_sync(self.socket, {"do": do, **fields}, 60)

    def serve(self, program: str | None) -> None:
        """What servers run from now on in the place of STAND_IN; None: that."""
        for name in PEOPLE:
            path = self.home / name / "program.py"
            path.unlink(missing_ok=True)
            if program is not None and path.parent.exists():
                path.write_text(program)
        if not self.warm:
            self.write_settings(**({} if program is None else {"command": ["/usr/bin/python3", "-c", program]}))

    def start(self, name: str, server: str = "", **env: str) -> dict:
        (self.home / name / "report.json").unlink(missing_ok=True)
        return self.ask("start", user=name, server=server, env=env)

    def report(self, name: str) -> dict:
        """What the stand-in server of this person wrote down."""
        path = self.home / name / "report.json"
        until(path.exists)
        return json.loads(path.read_text())

    def close(self) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.ask("stop-all", uid=0)
                assert self.down() == 0
            assert "Traceback" not in self.log.read_text()
            assert "unexpected" not in self.log.read_text()
            assert PASSWORD not in self.log.read_text()
        finally:
            if self.process is not None and self.process.poll() is None:  # it did not answer, or did not end
                self.down(9)
            self._end_what_is_left()
            shutil.rmtree(self.root)

    def _end_what_is_left(self) -> None:
        """People's processes that a warden left which ended badly; other workers have the same accounts."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                ours = str(self.root).encode() in (folder / "environ").read_bytes()
                if ours and folder.stat().st_uid in PEOPLE.values():
                    os.kill(int(folder.name), 9)
