"""Services as scripts of /etc/init.d, on machines without systemd."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from manylab.base.errors import CommandFailed, NotInstalled
from manylab.model.resources import Service
from manylab.system.run import SAFE_PATH, Completed, run
from manylab.system.services.base import ServiceStatus

Run = Callable[..., Completed]
_PATIENCE = 300  # seconds; the script itself waits for each part to get ready and kills what does not stop
_LEVELS_ON, _LEVELS_OFF = "2345", "016"  # the LSB header's Default-Start and Default-Stop


class SysV:
    """Init scripts below `etc`. which: tells where a program is, None when it is not there."""

    kind = "sysv"

    def __init__(
        self,
        etc: Path = Path("/etc"),
        run: Run = run,
        which: Callable[[str], str | None] = lambda name: shutil.which(name, path=SAFE_PATH),
    ) -> None:
        self._etc = etc
        self._run = run
        self._which = which

    def start(self, name: str) -> None:
        self._script(name, "start")

    def stop(self, name: str) -> None:
        self._script(name, "stop")

    def restart(self, name: str) -> None:
        self._script(name, "restart")

    def daemon_reload(self) -> None:
        """Nothing to do: a script is read each time."""

    def enable(self, name: str) -> None:
        """Have it started at boot, by the machine's own tool where there is one, else by the links it would make."""
        if self._which("update-rc.d"):
            self._run(["update-rc.d", name, "defaults"], timeout=60)
            self._run(["update-rc.d", name, "enable"], timeout=60)
        elif self._which("chkconfig"):
            self._run(["chkconfig", "--add", name], timeout=60)
            self._run(["chkconfig", name, "on"], timeout=60)
        elif self._which("insserv"):
            self._run(["insserv", name], timeout=60)
        else:
            self._remove_links(name)
            for letter, levels in (("S90", _LEVELS_ON), ("K10", _LEVELS_OFF)):
                for level in levels:
                    folder = self._etc / f"rc{level}.d"
                    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                    (folder / f"{letter}{name}").symlink_to(f"../init.d/{name}")

    def disable(self, name: str) -> None:
        """Not started at boot any more. The script need not exist any longer."""
        if self._which("update-rc.d"):
            self._run(["update-rc.d", "-f", name, "remove"], timeout=60, check=False)
        elif self._which("chkconfig"):
            self._run(["chkconfig", "--del", name], timeout=60, check=False)
        elif self._which("insserv"):
            self._run(["insserv", "-r", name], timeout=60, check=False)
        self._remove_links(name)

    def status(self, name: str) -> ServiceStatus:
        try:
            done = self._script(name, "status", check=False)
        except NotInstalled as error:
            return ServiceStatus(3, error.message)
        lines = (done.out.strip() or done.err.strip()).splitlines()
        code = done.status if done.status in (0, 1, 3) else 4
        return ServiceStatus(code, lines[0] if lines else f"{name}: status {done.status}")

    def is_active(self, name: str) -> bool:
        return self.status(name).code == 0

    def is_enabled(self, name: str) -> bool:
        return any(self._links(name, "S"))

    def revision(self, name: str) -> str:
        """Always "": the supervisor knows the revisions of its parts and is asked to reload."""
        return ""

    def converge(self, want: Service) -> None:
        if want.enabled != self.is_enabled(want.name):
            (self.enable if want.enabled else self.disable)(want.name)
        active = self.is_active(want.name)
        if want.running and not active:
            self.start(want.name)
        elif active and not want.running:
            self.stop(want.name)

    def _script(self, name: str, action: str, *, check: bool = True) -> Completed:
        script = self._etc / "init.d" / name
        if not script.is_file():
            raise NotInstalled(f"{script} is not there", hint="run `manylab install`")
        done = self._run([str(script), action], timeout=_PATIENCE, check=False)
        if check and done.status != 0:
            said = (done.err.strip() or done.out.strip())[-2000:]
            raise CommandFailed(f"{name} {action} failed: {said}", hint="see `manylab logs`", status=done.status)
        return done

    def _links(self, name: str, letter: str = "[SK]") -> list[Path]:
        return sorted(self._etc.glob(f"rc[0-6S].d/{letter}[0-9][0-9]{name}"))

    def _remove_links(self, name: str) -> None:
        for link in self._links(name):
            link.unlink()
