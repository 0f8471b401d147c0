"""The environments: there, whole, readable, safe, with an interpreter that still fits; and the kernels that
name them.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from manylab.base.errors import CommandFailed
from manylab.cli.doctor.kernel_specs import broken_specs
from manylab.cli.doctor.paths import some
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.system.environments import MARKER, observe_environment
from manylab.system.run import run

_ALWAYS = ("hub", "server", "proxy", "default")


@check(
    "env-missing",
    "Every environment is there and whole",
    why="Without its environment the hub, the proxy, people's servers or their kernels do not start.",
    mend="sudo manylab apply",
)
def env_missing(scene: Scene) -> Iterator[Finding]:
    scene.need_site()
    names = sorted(scene.wanted) or list(_ALWAYS)
    for name in names:
        current = scene.layout.env_current(name)
        if not current.is_dir():
            yield problem(
                f"environment {name} is not there" if not current.is_symlink() else f"{current} points to nothing"
            )
            continue
        if not (current / MARKER).exists():
            yield problem(f"environment {name} was not built to its end: {current.resolve()} has no {MARKER}")
            continue
        want = scene.wanted.get(name)
        have = observe_environment(want) if want is not None else None
        if have is not None and have.digest == "":
            yield problem(f"environment {name} is not whole: {have.path}")


@check(
    "env-half-built",
    "No half-built environment takes up space",
    why="A build that was interrupted leaves hundreds of megabytes; they do no harm and are never used.",
    mend="sudo manylab apply, which removes them",
)
def env_half_built(scene: Scene) -> Iterator[Finding]:
    in_use = {path.resolve() for path in scene.layout.envs.glob("*/current")}
    for folder in sorted(scene.layout.envs.glob("*/*")):
        if folder.is_dir() and not folder.is_symlink() and folder not in in_use and not (folder / MARKER).exists():
            yield warning(f"{folder} was not built to its end")


@dataclass
class Bits:
    """What is wrong with the modes inside one environment."""

    unreadable: list[str] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)


def judge_mode(mode: int, uid: int, owner: int) -> tuple[bool, bool]:
    """(others cannot read or enter it, others can change it) of a file or folder. owner: who alone may. Pure."""
    if stat.S_ISLNK(mode):
        return False, False
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0)
    return mode & needed != needed, bool(mode & (stat.S_IWOTH | stat.S_IWGRP)) or uid != owner


@cache
def walk_modes(folder: Path, owner: int) -> Bits:
    """Everything below a folder. Two checks ask, so the answer is kept: it is the slowest look of all."""
    found = Bits()
    for root, directories, files in os.walk(folder):
        for name in (".", *directories, *files):
            path = os.path.join(root, name)  # noqa: PTH118  (tens of thousands of them)
            status = os.lstat(path)
            unreadable, writable = judge_mode(status.st_mode, status.st_uid, owner)
            if unreadable:
                found.unreadable.append(path)
            if writable:
                found.writable.append(path)
    return found


def _bits(scene: Scene) -> Iterator[tuple[str, Bits]]:
    scene.need_system()
    if not scene.environments:
        raise Skip("there is no environment yet")
    for name in scene.environments:
        yield name, walk_modes(scene.built(name), 0)


@check(
    "env-unreadable",
    "Everybody can read the environments",
    why=(
        "A file that people cannot read makes an import fail for them and not for root, so that nobody who looks "
        "finds it."
    ),
    mend="sudo chmod -R a+rX /opt/manylab/envs",
)
def env_unreadable(scene: Scene) -> Iterator[Finding]:
    for name, bits in _bits(scene):
        if bits.unreadable:
            yield problem(
                f"environment {name}: not all can read {len(bits.unreadable)} of its files: {bits.unreadable[0]}",
                f"sudo chmod -R a+rX {scene.built(name)}",
            )


@check(
    "env-writable",
    "Only root can change the environments",
    why="Whoever can change a file there runs code as everybody who uses it, and, in the hub's environment, as root.",
    mend="sudo chown -R root:root /opt/manylab/envs && sudo chmod -R go-w /opt/manylab/envs",
)
def env_writable(scene: Scene) -> Iterator[Finding]:
    for name, bits in _bits(scene):
        if bits.writable:
            path = scene.built(name)
            yield problem(
                f"environment {name}: others can change {len(bits.writable)} of its files: {bits.writable[0]}",
                f"sudo chown -R root:root {path} && sudo chmod -R go-w {path}",
            )


def judge_interpreter(folders: list[str], says: str) -> str:
    """What is wrong when an environment has these lib/pythonX.Y folders and its interpreter says "X.Y"; "" when
    nothing. Pure.
    """
    if not folders or f"python{says}" in folders:
        return ""
    made = some([name.replace("python", "Python ") for name in folders])
    return f"was made with {made} and its interpreter is now Python {says}"


@check(
    "env-interpreter",
    "The environments' interpreter is the one they were made with",
    why="When the system's Python is upgraded away from under an environment, nothing in it can be imported any more.",
    mend="sudo manylab apply, which builds the environment anew with the Python there is",
)
def env_interpreter(scene: Scene) -> Iterator[Finding]:
    if not scene.environments:
        raise Skip("there is no environment yet")
    for name in scene.environments:
        folder = scene.built(name)
        python = folder / "bin/python"
        if not os.access(python, os.X_OK):
            yield problem(f"the interpreter of environment {name} is gone: {python} points to {python.resolve()}")
            continue
        try:
            said = run(
                [str(python), "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], timeout=20
            ).out.strip()
        except CommandFailed as error:
            yield problem(f"the interpreter of environment {name} does not run: {error.message}")
            continue
        if wrong := judge_interpreter(sorted(path.name for path in folder.glob("lib/python3*")), said):
            yield problem(f"environment {name} {wrong}")


@check(
    "kernel-broken",
    "The site's kernels can start",
    why="A kernel whose program is gone is offered in the launcher and then never starts.",
    mend="sudo manylab apply; remove what is not manylab's own",
)
def kernel_broken(scene: Scene) -> Iterator[Finding]:
    folders = (
        scene.layout.jupyter_data / "kernels",
        Path("/usr/local/share/jupyter/kernels"),
        Path("/usr/share/jupyter/kernels"),
    )
    for folder in folders:
        for path, wrong in broken_specs(folder):
            ours = folder == folders[0]
            yield (problem if ours else warning)(
                f"the kernel {path.parent.name} {wrong} ({path})",
                "" if ours else f"sudo rm -r {shlex.quote(str(path.parent))}",
            )


@check(
    "env-command",
    "The programs of the site are in their environments",
    why="These are the very files that the services start; one that is missing keeps the site from starting.",
    mend="sudo manylab apply",
)
def env_command(scene: Scene) -> Iterator[Finding]:
    scene.need_site()
    wanted = {
        "hub": "lib/python3*/site-packages/manylab/hub/__main__.py",
        "server": "lib/python3*/site-packages/manylab/lab/__main__.py",
        "proxy": "node_modules/configurable-http-proxy/bin/configurable-http-proxy",
        "default": "lib/python3*/site-packages/ipykernel_launcher.py",
    }
    for name, pattern in wanted.items():
        if not any(scene.built(name).glob(pattern)):
            yield problem(f"environment {name} has no {pattern.rpartition('site-packages/')[2]}")
