"""The Python that everything runs on, and the folders that it and the program are in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manylab.base.errors import Unsupported
from manylab.cli.doctor.paths import chain, first_closed, first_writable
from manylab.cli.doctor.scene import Scene
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.system import facts


@check(
    "python-missing",
    "There is a Python 3.10 or later that everybody may run",
    why=(
        "Environments are made with it; an interpreter below /root or in somebody's home cannot be run by other people."
    ),
    mend="sudo apt install python3 python3-venv, or the like of your distribution",
)
def python_missing(scene: Scene) -> Iterator[Finding]:
    try:
        facts.find_pythons(for_everybody=scene.layout.system)
    except Unsupported as error:
        yield problem(error.message)


@check(
    "python-private",
    "The environments' interpreter can be run by everybody",
    why=(
        "People's kernels run this very program; a folder on its way that they cannot enter stops every kernel, "
        "with 'permission denied'."
    ),
    mend=(
        "install Python below /usr, then: sudo manylab apply; or let everybody enter the folder: sudo chmod o+x FOLDER"
    ),
)
def python_private(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    for name in scene.environments:
        python = scene.built(name) / "bin/python"
        if not python.exists():
            continue  # env-interpreter says so
        if closed := first_closed(chain(python)):
            yield problem(
                f"the Python of environment {name} is {python.resolve()}, and people cannot pass {closed.path}"
            )


@check(
    "folder-private",
    "People can enter the folders of the program",
    why=(
        "Servers and kernels run as people and read the program; below /root, or any folder with mode 0700, they "
        "cannot."
    ),
    mend="sudo chmod o+x FOLDER, or move it to a place such as /opt or /srv",
)
def folder_private(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    for folder in (scene.layout.program, scene.layout.run):
        if folder.is_dir() and (closed := first_closed(chain(folder))):
            yield problem(f"people cannot pass {closed.path}, and need {folder}", f"sudo chmod o+x {closed.path}")


def is_checkout(package: Path) -> Path | None:
    """The folder of the checkout that a package's code is in, None for installed code. Pure."""
    return package.parents[1] if package.parent.name == "src" else None


@check(
    "clone-private",
    "The clone that manylab is run from can be entered by people",
    why="What serves people is a copy of it, but the command itself can only be used by those who can enter the clone.",
    mend="move the clone to a place such as /srv/manylab, or install the command: sudo manylab install",
)
def clone_private(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    clone = is_checkout(facts.PACKAGE)
    if clone is None or scene.layout.command.exists():
        return
    if closed := first_closed(chain(clone)):
        yield warning(f"manylab is run from {clone}, and people cannot pass {closed.path}")


@check(
    "code-writable",
    "Only root can change the code that root runs",
    why="Whoever can change manylab's code, or a folder above it, becomes root the next time that root runs it.",
    mend="sudo chown -R root:root CLONE && sudo chmod -R go-w CLONE, or move it out of the other account's folder",
)
def code_writable(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    scene.need_root()
    for place in (facts.PACKAGE, scene.layout.program):
        if place.is_dir() and (loose := first_writable(chain(place))):
            yield problem(
                f"{loose.path} (owner {loose.uid}, mode {loose.mode & 0o7777:04o}) is open to others; root runs {place}"
            )
