"""Which service manager a machine has, and which one a site is installed with."""

from __future__ import annotations

from pathlib import Path

from manylab.base.layout import Layout
from manylab.system.services.base import ServiceManager
from manylab.system.services.systemd import Systemd
from manylab.system.services.sysv import SysV


def manager_for(service: str, layout: Layout) -> ServiceManager | None:
    """The manager of that kind ("systemd" or "sysv"); None for a site that is not installed as a service."""
    if service == "systemd":
        return Systemd()
    if service == "sysv":
        return SysV(etc=layout.init_script.parent.parent)
    return None


def detect(root: Path = Path("/")) -> str:
    """What `manylab install` should use: "systemd" where it really runs as process 1 (sd_booted(3)), else "sysv"."""
    return "systemd" if (root / "run/systemd/system").is_dir() else "sysv"


def is_wsl(osrelease: str) -> bool:
    """Whether a kernel is Windows' own, by the text of /proc/sys/kernel/osrelease."""
    return "microsoft" in osrelease.lower()
