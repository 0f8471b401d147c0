"""Services under systemd, through systemctl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from manylab.model.resources import Service
from manylab.model.units import REVISION_VARIABLE
from manylab.system.run import Completed, run
from manylab.system.services.base import ServiceStatus

Run = Callable[..., Completed]
_PATIENCE = 180  # seconds: a first start of the hub on a slow disk, a stop that waits for TimeoutStopSec=


class Systemd:
    """The system's own instance."""

    kind = "systemd"

    def __init__(self, run: Run = run, proc: Path = Path("/proc")) -> None:
        self._run = run
        self._proc = proc

    def start(self, name: str) -> None:
        self._systemctl("start", _unit(name))

    def stop(self, name: str) -> None:
        self._systemctl("stop", _unit(name))

    def restart(self, name: str) -> None:
        # A unit that failed often would otherwise be refused.
        self._systemctl("reset-failed", _unit(name), check=False)
        self._systemctl("restart", _unit(name))

    def enable(self, name: str) -> None:
        self._systemctl("enable", "--quiet", _unit(name))

    def disable(self, name: str) -> None:
        self._systemctl("disable", "--quiet", _unit(name))

    def daemon_reload(self) -> None:
        self._systemctl("daemon-reload")

    def status(self, name: str) -> ServiceStatus:
        shown = self._show(name, "LoadState", "ActiveState", "SubState", "MainPID", "Result")
        state, load = shown.get("ActiveState", ""), shown.get("LoadState", "")
        pid = int(shown.get("MainPID", "0") or 0) or None
        text = f"{name} is {state or 'unknown'} ({shown.get('SubState', '')})"
        if state in ("active", "reloading", "activating"):
            return ServiceStatus(0, text, pid)
        if state == "failed":
            return ServiceStatus(1, f"{text}: {shown.get('Result', '')}", pid)
        if load and state in ("inactive", "deactivating"):
            return ServiceStatus(3, text, pid)
        return ServiceStatus(4, text, pid)

    def is_enabled(self, name: str) -> bool:
        done = self._systemctl("is-enabled", _unit(name), check=False)
        return done.out.strip() in ("enabled", "alias", "static", "indirect")

    def is_active(self, name: str) -> bool:
        return self._show(name, "ActiveState").get("ActiveState") in ("active", "reloading")

    def revision(self, name: str) -> str:
        """The revision in the environment that the running process was started with; "" when it has none."""
        pid = self._show(name, "MainPID").get("MainPID", "0")
        try:
            environment = (self._proc / pid / "environ").read_bytes()
        except OSError:
            return ""
        prefix = f"{REVISION_VARIABLE}=".encode()
        found = (entry[len(prefix) :].decode() for entry in environment.split(b"\0") if entry.startswith(prefix))
        return next(found, "")

    def converge(self, want: Service) -> None:
        """Make the service as it should be; restarts it only when it runs with another revision."""
        self.daemon_reload()
        if want.enabled != self.is_enabled(want.name):
            (self.enable if want.enabled else self.disable)(want.name)
        active = self.is_active(want.name)
        if not want.running:
            if active:
                self.stop(want.name)
        elif not active or (want.revision and self.revision(want.name) != want.revision):
            self.restart(want.name)

    def _systemctl(self, *arguments: str, check: bool = True) -> Completed:
        return self._run(["systemctl", "--no-ask-password", *arguments], timeout=_PATIENCE, check=check)

    def _show(self, name: str, *properties: str) -> dict[str, str]:
        done = self._systemctl("show", f"--property={','.join(properties)}", _unit(name), check=False)
        return dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)


def _unit(name: str) -> str:
    return name if "." in name else f"{name}.service"
