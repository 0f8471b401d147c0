"""The service managers: what they tell systemctl or the machine's own tools, and what is left on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from manylab.base.errors import CommandFailed, NotInstalled
from manylab.model.resources import Service
from manylab.system.run import Completed, run
from manylab.system.services.managers import detect, is_wsl
from manylab.system.services.systemd import Systemd
from manylab.system.services.sysv import SysV


class Systemctl:
    """A stand-in for systemctl that remembers one unit's state."""

    def __init__(self, *, active: bool = False, enabled: bool = False, pid: int = 0) -> None:
        self.active, self.enabled, self.pid = active, enabled, pid
        self.did: list[str] = []

    def __call__(self, argv, **options) -> Completed:
        action = argv[2]
        out = ""
        if action == "show":
            state = "active" if self.active else "inactive"
            out = f"LoadState=loaded\nActiveState={state}\nSubState=x\nMainPID={self.pid}\n"
        elif action == "is-enabled":
            out = "enabled\n" if self.enabled else "disabled\n"
        elif action not in ("reset-failed", "daemon-reload"):
            self.did.append(f"{action} {argv[-1]}")
            self.active = self.active if action in ("enable", "disable") else action != "stop"
            self.enabled = action == "enable" or (self.enabled and action != "disable")
        return Completed(tuple(argv), 0, out, "")


def test_a_service_that_is_as_it_should_be_is_left_alone():
    systemctl = Systemctl(active=True, enabled=True)
    Systemd(systemctl).converge(Service("manylab"))
    assert systemctl.did == []


def test_a_stopped_service_is_enabled_and_started_and_one_that_should_stop_is_stopped():
    systemctl = Systemctl()
    manager = Systemd(systemctl)
    manager.converge(Service("manylab"))
    assert systemctl.did == ["enable manylab.service", "restart manylab.service"]
    assert manager.status("manylab").code == 0
    manager.converge(Service("manylab", enabled=False, running=False))
    assert systemctl.did[2:] == ["disable manylab.service", "stop manylab.service"]
    assert manager.status("manylab").code == 3


def test_a_running_part_is_restarted_only_when_its_revision_differs(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"A=b\0MANYLAB_REVISION=new\0")
    systemctl = Systemctl(active=True, enabled=True, pid=7)
    manager = Systemd(systemctl, proc=tmp_path)
    manager.converge(Service("manylab-hub", revision="new"))
    assert systemctl.did == []
    manager.converge(Service("manylab-hub", revision="newer"))
    assert systemctl.did == ["restart manylab-hub.service"]


@pytest.fixture
def machine(tmp_path) -> tuple[SysV, Path]:
    script = tmp_path / "init.d/manylab"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\ncase $1 in start) : > "$0.on";; stop) rm -f "$0.on";; '
        'restart) echo no >&2; exit 1;; status) [ -e "$0.on" ] || exit 3;; esac\n'
    )
    script.chmod(0o755)
    return SysV(tmp_path, run, which=lambda name: None), tmp_path


def test_without_any_tool_the_links_of_the_run_levels_are_made_and_removed(machine):
    manager, etc = machine
    manager.enable("manylab")
    manager.enable("manylab")
    links = sorted(str(path.relative_to(etc)) for path in etc.glob("rc*.d/*"))
    assert links == [
        f"rc{level}.d/{name}manylab" for level, name in zip("0123456", ["K10", "K10", *["S90"] * 4, "K10"], strict=True)
    ]
    assert (etc / "rc3.d/S90manylab").resolve() == etc / "init.d/manylab"
    assert manager.is_enabled("manylab")
    manager.disable("manylab")
    assert not manager.is_enabled("manylab") and not list(etc.glob("rc*.d/*"))


def test_the_script_is_asked_and_its_failure_is_told(machine):
    manager, etc = machine
    manager.converge(Service("manylab"))
    assert manager.is_active("manylab") and manager.is_enabled("manylab")
    manager.converge(Service("manylab", running=False))
    assert manager.status("manylab").code == 3
    with pytest.raises(CommandFailed, match="no"):
        manager.restart("manylab")
    (etc / "init.d/manylab").unlink()
    with pytest.raises(NotInstalled):
        manager.start("manylab")
    assert manager.status("manylab").code == 3


def test_systemd_counts_only_where_it_really_runs(tmp_path):
    assert detect(tmp_path) == "sysv"
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert detect(tmp_path) == "systemd"
    assert is_wsl("5.15.153.1-microsoft-standard-WSL2\n") and not is_wsl("6.1.0-18-amd64\n")
