"""Looks at the machine for what the model needs to know."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import pwd
import re
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import manylab
from manylab.base.errors import NotFound, Unsupported
from manylab.base.layout import Layout
from manylab.model.environments import OWN_CODE
from manylab.model.facts import Facts, Python
from manylab.system.run import run

OLDEST = (3, 10)
PACKAGE = Path(manylab.__file__).parent
# The launcher beside the code of an installed manylab, which has no checkout.
LAUNCHER_KEPT = "launcher.sh"
# Limits of a whole container, control groups of version 2 and 1; a machine of its own has neither or no limit in it.
_CONTAINER_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def gather(layout: Layout) -> Facts:
    """The facts of this machine for this site. Raises Unsupported when there is no usable Python."""
    installed = read_installed(layout)
    person = "" if layout.system else pwd.getpwuid(os.getuid()).pw_name
    return Facts(
        system=layout.system,
        person=person,
        home="" if layout.system else pwd.getpwuid(os.getuid()).pw_dir,
        service=installed.get("service", ""),
        systemd_runs=Path("/run/systemd/system").is_dir(),
        pythons=find_pythons(for_everybody=layout.system),
        downloads=str(layout.pythons),
        source_digest={part: source_digest(PACKAGE, part) for part in OWN_CODE.values()},
        pam_style=_pam_style(layout.root if layout.system else Path("/")),
        operator=installed.get("operator", ""),
        min_uid=_min_uid(),
        machine=platform.machine(),
        enabled=installed.get("enabled", "yes") == "yes",
        started=installed.get("started", "yes") == "yes",
        memory=memory_of_machine(),
    )


def read_installed(layout: Layout) -> dict[str, str]:
    """How the site is installed as a service: what `install` wrote down, {} when it is not installed."""
    try:
        found = json.loads(layout.installed_json.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {str(key): str(value) for key, value in found.items()}


@cache
def source_digest(package: Path, parts: tuple[str, ...]) -> str:
    """Names the code and data of the package, or of some packages in it: the same text everywhere for the same
    files.
    """
    total = hashlib.sha256()
    # Not by pathlib: this is most of what an `apply` with nothing to do would take.
    for inside in sorted(_files(str(package), parts)):
        content = Path(package, inside).read_bytes()
        total.update(inside.encode() + b"\0" + content + b"\0")
    if parts == ("*",):
        # In a checkout it is elsewhere; the command in the environment must not take itself for another manylab.
        total.update(_launcher_beside(package).encode())
    return total.hexdigest()


def _files(package: str, parts: tuple[str, ...]) -> Iterator[str]:
    """Paths inside the package of everything that belongs to these parts of it."""
    for directory, directories, names in os.walk(package):
        inside = directory[len(package) + 1 :]
        directories[:] = [name for name in directories if name != "__pycache__"]
        if not inside and parts != ("*",):
            directories[:] = [name for name in directories if name in parts]
            names = [name for name in names if name in parts or name == "__init__.py"]
        yield from (f"{inside}/{name}" if inside else name for name in names if inside or name != LAUNCHER_KEPT)


@cache
def find_pythons(*, for_everybody: bool) -> tuple[Python, ...]:
    """Interpreters of at least 3.10, the machine's own `python3` first, then the newest.

    for_everybody: leave out those in folders that only their owner can enter (/root/.pyenv, say) or that others can
    write.
    """
    folders = ("/usr/bin", "/usr/local/bin") if for_everybody else (*os.environ.get("PATH", "").split(":"), "/usr/bin")
    names = ["python3", *(f"python3.{minor}" for minor in range(20, OLDEST[1] - 1, -1))]
    found: dict[str, Python] = {}
    for name in names:
        for folder in folders:
            path = Path(folder) / name
            real = path.resolve()
            if (
                not folder
                or str(real) in found
                or not os.access(path, os.X_OK)
                or (for_everybody and not _public(real))
            ):
                continue
            said = run(
                [str(path), "-I", "-c", "import sys; print(*sys.version_info[:3], sep='.')"], check=False, timeout=20
            )
            version = said.out.strip()
            if said.status == 0 and re.fullmatch(r"\d+\.\d+\.\d+", version) and _pair(version) >= OLDEST:
                found[str(real)] = Python(str(path), version)
    if not found:
        raise Unsupported(
            "there is no Python 3.10 or later that everybody on this machine may run"
            if for_everybody
            else "there is no Python 3.10 or later",
            hint="install the python3 package of your distribution",
        )
    return tuple(found.values())


def _pair(version: str) -> tuple[int, int]:
    major, minor, _ = version.split(".")
    return int(major), int(minor)


def _public(path: Path) -> bool:
    """Whether everybody can run the file and only root can change it or any folder above it."""
    for part in (path, *path.parents):
        status = part.stat()
        if not status.st_mode & stat.S_IXOTH or status.st_uid != 0:
            return False
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return False
    return True


def _pam_style(root: Path) -> str:
    if (root / "etc/pam.d/common-auth").exists():
        return "debian"
    return "redhat" if (root / "etc/pam.d/system-auth").exists() else "other"


def memory_of_machine(meminfo: Path = Path("/proc/meminfo"), containers: tuple[Path, ...] = _CONTAINER_MEMORY) -> int:
    """Bytes that all programs together may use here; 0 when that cannot be known."""
    found = []
    for path in (meminfo, *containers):
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
        if path == meminfo:
            total = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
            found += [int(total[1]) * 1024] if total else []
        elif text.strip().isdigit():  # else "max"
            found.append(int(text))
    return min(found, default=0)


def _min_uid() -> int:
    """UID_MIN of /etc/login.defs, 1000 where it does not say."""
    try:
        text = Path("/etc/login.defs").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 1000
    found = re.search(r"^\s*UID_MIN\s+(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 1000


def launcher() -> str:
    """The launcher's text: of the checkout that runs, or as it was kept beside the code of an installed manylab."""
    if text := _launcher_beside(PACKAGE):
        return text
    raise NotFound(f"the launcher is not beside {PACKAGE}", hint="run ./manylab in a clone of manylab")


def _launcher_beside(package: Path) -> str:
    for path in (package.parents[1] / "manylab", package / LAUNCHER_KEPT):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
