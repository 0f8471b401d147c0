"""What can be done inside a machine: run commands, look at processes, read and write files, add accounts."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import host
from .cgroups import Group
from .commands import Completed, Running
from .errors import CommandFailed, HarnessError

Network = Literal["host", "private"]
# Joins the control groups named before --, then becomes the rest.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'
# A login starts in the home directory.
# What would reach through to the host, since the kernel is shared. Missing in other containers as well.
DROPPED = "-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-audit_control,-mac_admin,-mac_override"
CHDIR = 'cd "$1" || exit 126; unset OLDPWD; shift; exec "$@"'


@dataclass(frozen=True)
class Person:
    """A line of the machine's passwd database."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class Process:
    """A process as the machine sees it. `argv` of a zombie is ("<zombie>", its name)."""

    pid: int
    parent: int
    uid: int
    argv: tuple[str, ...]


class Inside:
    """The part of Machine that needs it to be running."""

    folder: Path
    _group: Group

    def __init__(self, env: Mapping[str, str], network: Network) -> None:
        self.env = dict(env)
        self.network = network
        self.leader = 0  # PID 1 as the host numbers it
        self._logs = itertools.count(1)

    def confine(self) -> list[str]:
        """The start of a command line whose rest can do no harm to the host, even as root.

        Without this, the sysvinit of a machine that shares the host's network takes the host's interfaces
        down when it halts (`halt -i`), and everybody's network is gone. It was, once.
        """
        with_network = ",-net_admin" if self.network == "host" else ""
        return ["/usr/bin/setpriv", f"--bounding-set={DROPPED}{with_network}"]

    def person(self, name: str) -> Person:
        """Somebody's account, from any database the machine asks (files, LDAP). Raises CommandFailed for
        nobody.
        """
        # getent takes a name of digits only for a uid.
        key = [] if name.isdecimal() else [name]
        lines = self.run(["getent", "passwd", *key]).stdout.splitlines()
        line = next((line for line in lines if line.startswith(f"{name}:")), lines[0] if key else "")
        if not line:
            raise CommandFailed(f"there is no account {name!r}")
        login, _, uid, gid, _, home, shell = line.split(":")
        return Person(login, int(uid), int(gid), home, shell)

    def popen(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: bool = False,
    ) -> Running:
        """Start it as root or `user`, in their home directory or `cwd`, with a clean environment plus
        `machine.env`.

        A text is for /bin/sh. `tty=True` gives it a terminal of its own. Use it in a `with`.
        """
        return self._start(command, user, env, cwd, tty)

    def _start(
        self,
        command: str | Sequence[str],
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: bool = False,
        stdin: int = subprocess.DEVNULL,
        errors: int = subprocess.STDOUT,
    ) -> Running:
        if not self.leader:
            raise HarnessError("this machine is not running")
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        person = self.person(user) if user else Person("root", 0, 0, "/root", "/bin/bash")
        entered = ["/bin/sh", "-c", JOIN, "join", *self._group.doors(), "--"]
        entered += [host.tool("nsenter"), "-t", str(self.leader), "-a"]
        # A session of its own, or its process group would be one that the machine cannot see.
        entered += ["/usr/bin/setsid", "--ctty"] if tty else ["/usr/bin/setsid"]
        entered += self.confine()
        if person.uid:
            entered += [f"--reuid={person.uid}", f"--regid={person.gid}", "--init-groups"]
        entered += ["/bin/sh", "-c", CHDIR, "chdir", cwd or person.home, *argv]
        clean = {"PATH": host.SYSTEM_PATH, "HOME": person.home, "USER": person.name, "LOGNAME": person.name}
        clean |= {"SHELL": person.shell, "LANG": "C.UTF-8", **({"TERM": "xterm"} if tty else {})}
        return Running(
            argv,
            entered,
            {**clean, **self.env, **(env or {})},
            self.folder / "out" / f"{next(self._logs)}.log",
            terminal=(Path(f"/proc/{self.leader}/root/dev/pts/ptmx"), person.uid) if tty else None,
            stdin=stdin,
            errors=errors,
        )

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        input: str | bytes | None = None,
        timeout: float = 120.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        tty: bool = False,
    ) -> Completed:
        """Run to the end, see `popen`. With a terminal, `input` is typed at once.

        Raises CommandFailed (unless check=False), and TimedOut after `timeout` seconds, having killed it. A
        daemon that it leaves behind may keep its output open; that is not waited for.
        """
        data = input.encode() if isinstance(input, str) else input or b""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as errors:
            if not tty:  # files, since a pipe has to be fed and emptied at the same time
                stdin.write(data)
                stdin.seek(0)
            plumbing = (stdin.fileno(), errors.fileno())
            with self._start(command, user, env, cwd, tty, *plumbing) as running:
                if tty and data:
                    running.send(data.decode())
                code = running.wait(timeout)  # when this raises, the with kills it
            errors.seek(0)
            done = Completed(running.argv, code, running.output(), errors.read().decode(errors="replace"))
        running.log.unlink()
        return done.check() if check else done

    def processes(self) -> list[Process]:
        """Every process of the machine, PID 1 first, but not what looks at it now."""
        proc = Path(f"/proc/{self.leader}/root/proc")  # its own /proc, so the pids are its own
        found = []
        for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()):
            try:
                lines = (proc / str(pid) / "status").read_text().splitlines()
                words = (proc / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            except OSError:  # it ended just now
                continue
            facts = dict(line.split(":", 1) for line in lines)
            zombie = facts["State"].split()[0] in "ZX"
            name = facts["Name"].strip()
            argv = ("<zombie>", name) if zombie else tuple(word.decode(errors="replace") for word in words)
            found.append(Process(pid, int(facts["PPid"]), int(facts["Uid"].split()[0]), argv))
        return found

    def write(self, path: str, text: str | bytes, mode: int = 0o644, owner: str = "root") -> None:
        """Write a whole file, making its folders; `mode` holds from the first byte on."""
        make = 'mkdir -p "$(dirname "$1")" && umask 077 && cat > "$1.new" && chmod "$2" "$1.new"'
        move = ' && chown "$3:" "$1.new" && mv -fT "$1.new" "$1"'
        self.run(["/bin/sh", "-c", make + move, "write", path, f"{mode:o}", owner], input=text)

    def read(self, path: str) -> str:
        """The text of a file, following the machine's symbolic links. Raises CommandFailed without one."""
        return self.run(["cat", path]).stdout

    def exists(self, path: str) -> bool:
        """Is there anything of that name (also a symbolic link to nowhere)?"""
        test = ["/bin/sh", "-c", '[ -e "$1" ] || [ -L "$1" ]', "exists", path]
        return self.run(test, check=False).returncode == 0

    def add_account(self, name: str, password: str | None = None, groups: Sequence[str] = ()) -> Person:
        """An ordinary account with a home directory and bash, in these groups too, made when missing."""
        for group in groups:
            self.run(["groupadd", "--force", group])
        self.run(["useradd", "--create-home", "--shell", "/bin/bash", "--groups", ",".join(groups), name])
        if password is not None:
            self.run(["chpasswd"], input=f"{name}:{password}\n")
        return self.person(name)

    def put_tree(self, source: Path, destination: str, owner: str = "root") -> None:
        """Copy a folder of the host into a new or existing one. Of a git work tree: what a commit of
        everything would hold now (tracked files as they are, and untracked ones that are not ignored),
        without .git.

        Raises CommandFailed when either side of the copy does.
        """
        names = ["."]
        if (source / ".git").exists():
            # The test runs as root, the tree may be somebody else's.
            git = ["git", "-c", f"safe.directory={source.resolve()}", "-C", str(source)]
            git += ["ls-files", "-z", "-co", "--exclude-standard"]
            listed = subprocess.run(git, stdout=subprocess.PIPE, check=True, timeout=60)
            names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
            # A file may be removed, and that not yet committed.
            names = [name for name in names if os.path.lexists(source / name)]
        person = self.person(owner)
        with tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as list_file:
            list_file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
            list_file.seek(0)
            owned = ["--numeric-owner", f"--owner={person.uid}", f"--group={person.gid}"]
            pack = [host.tool("tar"), "-C", str(source), "-c", *owned, "--null", "-T", "-"]
            subprocess.run(pack, stdin=list_file, stdout=archive, check=True, timeout=600)
            archive.seek(0)
            unpack = 'mkdir -p "$1" && chown "$2:" "$1" && tar -C "$1" -xp --numeric-owner'
            with self._start(
                ["/bin/sh", "-c", unpack, "unpack", destination, owner], stdin=archive.fileno()
            ) as running:
                code = running.wait(600)
        Completed(running.argv, code, running.output(), "").check()
