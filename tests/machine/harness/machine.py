"""A throwaway machine: an overlay over a Root, its own processes, mounts, host name and control groups."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from . import host, layers, owners, sweep
from .cgroups import Group
from .errors import HarnessError, TimedOut
from .inside import JOIN, Inside, Network
from .layers import Init, Root
from .polling import wait_until

COMMANDS: dict[Init, list[str]] = {
    # What WSL and containers amount to: a PID 1 that reaps, which ignoring SIGCHLD does, and nothing else.
    "none": ["env", "--ignore-signal=CHLD", "sleep", "infinity"],
    "sysv": ["/sbin/init"],
    "systemd": ["/lib/systemd/systemd", "--system", "--log-target=journal"],
}


class Machine(Inside):
    """See the package's docstring for an example.

    `init`: what is PID 1; by default what the root was made for. `network`: "host" shares the host's,
    "private" has a loopback of its own and nothing else. `tmpfs`: keep the disk in memory, at most this size
    ("2G"); otherwise it is in the cache folder. `cgroups=False`: /sys/fs/cgroup is empty, as in a container
    without delegation. `env`: more environment for every command.

    Entering raises Unavailable or HarnessError (with the console's last lines).
    """

    def __init__(
        self,
        root: Root,
        *,
        init: Init | None = None,
        network: Network = "host",
        tmpfs: str | None = None,
        cgroups: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(env={**host.passed_environment(os.environ), **(env or {})}, network=network)
        self.root = root
        self.init: Init = init or root.init
        self.name = ""
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._tmpfs = tmpfs
        self._cgroups = cgroups
        self._stack = ExitStack()
        self._pins = ExitStack()

    def __enter__(self) -> Machine:
        sweep.ensure_janitor()
        self.name = owners.new_name()
        self.folder = host.cache() / "machines" / self.name
        with ExitStack() as stack:
            stack.callback(self._pins.close)
            self._pins.enter_context(self.root.pinned())
            self.port = stack.enter_context(host.free_port())
            self.folder.mkdir(parents=True)
            stack.callback(sweep.remove_folder, self.folder)
            self._disk = self.folder / "disk"
            for part in (self._disk, self.folder / "root", self.folder / "out"):
                part.mkdir()
            if self._tmpfs:
                mount = [host.tool("mount"), "-t", "tmpfs", "-o", f"mode=755,size={self._tmpfs}", "tmpfs"]
                subprocess.run([*mount, str(self._disk)], check=True, timeout=30)
            self._group = Group(self.name)
            sweep.remember(self.folder, self._group.folders())
            stack.callback(self._group.remove)
            stack.callback(self.power_off, clean=False)
            self.boot()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def close(self) -> None:
        """Everything of it goes: processes, mounts, groups, files. Also right after a failure, and twice."""
        self._stack.close()

    def boot(self) -> None:
        """Start PID 1 over the disk as it is, and wait until the boot is complete (at most 60 s)."""
        self._group.create()
        self._prepare_disk()
        flags = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--propagation", "private"]
        flags += ["--fork", "--kill-child"]
        flags += ["--net"] if self.network == "private" else []
        script = str(Path(__file__).with_name("boot.sh"))
        first = ["/bin/sh", "-c", JOIN, "join", *self._group.doors(first=True), "--"]
        first += [host.tool("unshare"), *flags, "sh", script, *self.confine(), *COMMANDS[self.init]]
        env = {
            "PATH": host.SYSTEM_PATH,
            "LOWER": ":".join(map(str, self.root.trees)),
            "UPPER": str(self._disk / "upper"),
            "WORK": str(self._disk / "work"),
            "ROOT": str(self.folder / "root"),
            "NAME": self.name,
            "NETWORK": self.network,
            "CGROUPS": self._group.lines() if self._cgroups else "",
        }
        if self.init == "systemd":
            env["container"] = "manylab-test"  # systemd's container interface: no udev, no fsck, no consoles
        with (self.folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                first,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                env=env,
                cwd="/",
                start_new_session=True,
            )
        assert self._process.stdin and self._process.stdout
        with self._process.stdin as stdin, self._process.stdout as stdout:
            if stdout.readline() != b"ready\n":
                raise HarnessError(f"{self.name} did not start:\n{self.console()}")
            self.leader = owners.descendants(self._process.pid)[1]
            self._group.park(self._process.pid)
            if self.init != "systemd":
                self._group.park(self.leader)
            stdin.write(b"go\n")
            stdin.flush()
        wait_until(self._is_booted, 60, lambda: f"boot of {self.name} ({self.init}):\n{self.console()}")

    def _prepare_disk(self) -> None:
        # Written below the overlay, as nobody has mounted it now.
        etc = self._disk / "upper" / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        (self._disk / "work").mkdir(exist_ok=True)
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost {self.name}\n::1 localhost\n")
        if self.network == "host":
            (etc / "resolv.conf").unlink(missing_ok=True)
            (etc / "resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
        if self.init == "systemd" and not (etc / "machine-id").exists():  # or all would be one machine
            (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
        if host.wants_certificates(os.environ):
            (etc / Path(host.CA_INSIDE).name).write_bytes(host.CA_HOST.read_bytes())

    def _is_booted(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise HarnessError(f"PID 1 of {self.name} ended:\n{self.console()}")
        if b"boot.sh" in Path(f"/proc/{self.leader}/cmdline").read_bytes():  # about to become PID 1's program
            return False
        if self.init == "systemd":
            state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
            return state in ("running", "degraded")
        if self.init == "sysv":  # the last line of its inittab (roots.py): this PID 1 has run the scripts of its level
            said = "cat /run/booted; cut -d' ' -f22 /proc/1/stat"
            words = self.run(["/bin/sh", "-c", said], check=False).stdout.split()
            return len(words) == 2 and words[0] == words[1]
        return True

    def power_off(self, *, clean: bool = True, timeout: float = 60.0) -> None:
        """Stop it: as its init does it, waiting `timeout` seconds, or (clean=False, and init="none") all at
        once.
        """
        if self._process is None:
            return
        if clean and self._process.poll() is None:
            if self.init == "systemd":
                os.kill(self.leader, signal.SIGRTMIN + 4)  # systemd(1): poweroff.target
            elif self.init == "sysv":
                self.run(["/sbin/telinit", "0"])
            if self.init != "none":
                try:
                    self._process.wait(timeout)
                except subprocess.TimeoutExpired:
                    raise TimedOut(f"{self.name} still runs after {timeout:g} s:\n{self.console()}") from None
        # With PID 1 the kernel ends the whole pid namespace; then unshare, its parent, reaps it and ends. The
        # other way round it would stay as a zombie until the host's init looks.
        below = owners.descendants(self._process.pid)[1:2]
        owners.kill(below or [self._process.pid])
        self._process.wait(30)
        self._process = None
        self.leader = 0
        self._group.remove()

    def reboot(self) -> None:
        """Power off cleanly and boot again over the same disk."""
        self.power_off()
        self.boot()

    def freeze(self, name: str, key: str, init: Init | None = None) -> Root:
        """Power off, and make the disk a layer of the cache; the machine is of no use after that.

        Deletes layers of the same name with another key, unless a machine uses them.
        """
        self.power_off()
        for made in ("hostname", "hosts", "resolv.conf", "machine-id", Path(host.CA_INSIDE).name):
            (self._disk / "upper" / "etc" / made).unlink(missing_ok=True)  # each machine gets its own at boot
        return layers.store(name, key, self.root, init or self.init, self._disk / "upper")

    def snapshot(self, name: str, key: str) -> Root:
        """Freeze, and boot again over the frozen layer: the machine goes on. Running commands end, and with
        init="none" every process does. `layers.find(name, key, over=root)` finds it again.
        """
        self.root = self.freeze(name, key)
        subprocess.run(["rm", "-rf", str(self._disk / "upper"), str(self._disk / "work")], check=True, timeout=300)
        self._pins.enter_context(self.root.pinned())
        self.boot()
        return self.root

    def console(self, lines: int = 40) -> str:
        """The last lines that PID 1 and the boot printed."""
        text = (self.folder / "console").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def installed(
    name: str, key: str, over: Root, install: Callable[[Machine], object], *, init: Init | None = None
) -> Root:
    """The snapshot of that name and key over that root, made with `install` on a fresh machine when there is
    none.

    Put into the key all that changes the outcome. Two processes that want the same one do not both make it.
    """
    with host.locked(f"build-{name}"):
        if (found := layers.find(name, key, over)) is not None:
            return found
        with Machine(over, init=init) as machine:
            install(machine)
            return machine.freeze(name, key)
