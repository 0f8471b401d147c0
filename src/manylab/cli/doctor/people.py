"""People's homes: there, theirs, and what was left in them that changes what they see. Only names are ever shown."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from manylab.cli.doctor.environments import broken_specs
from manylab.cli.doctor.paths import chain, exists, first_closed, listed
from manylab.cli.doctor.scene import Scene
from manylab.cli.doctor.table import Finding, check, fine, problem, warning
from manylab.system.files import owner_name

# A dotfile with an installer's additions is some kilobytes.
_LARGEST_DOTFILE = 256 * 1024
DOTFILES = (".profile", ".bash_profile", ".bash_login", ".bashrc", ".zshrc", ".zprofile", ".zshenv")


@check(
    "home-missing",
    "Every member has a home",
    why="A server starts in its person's home; without one it is refused.",
    mend="sudo mkhomedir_helper NAME",
)
def home_missing(scene: Scene) -> Iterator[Finding]:
    for person in scene.people:
        if not person.home.is_dir():
            yield problem(
                f"{person.name} has no home: {person.home} is not there", f"sudo mkhomedir_helper {person.name}"
            )


def judge_home(mode: int, owner: int, uid: int) -> tuple[str, bool]:
    """(what is wrong with a home, whether a server cannot work in it); ("", False) when nothing. Pure."""
    if owner != uid:
        return f"belongs to uid {owner}", True
    if mode & 0o700 != 0o700:
        return f"has mode {stat.S_IMODE(mode):04o}: its owner cannot use it", True
    if mode & stat.S_IWOTH:
        return f"has mode {stat.S_IMODE(mode):04o}: everybody can change it", False
    return "", False


@check(
    "home-unusable",
    "Every home belongs to its person, who can enter it",
    why=(
        "In a home of somebody else, or behind a folder that is closed, nothing can be saved and the server or its "
        "kernels fail."
    ),
    mend="sudo chown NAME: HOME && sudo chmod u+rwx,o-w HOME",
)
def home_unusable(scene: Scene) -> Iterator[Finding]:
    for person in scene.people:
        if not person.home.is_dir():
            continue
        status = person.home.stat()
        wrong, severe = judge_home(status.st_mode, status.st_uid, person.uid)
        if status.st_uid != person.uid:
            # No plain chown: the folder may well be somebody else's, or the system's.
            yield problem(
                f"{person.home}, the home of {person.name}, belongs to {owner_name(status.st_uid)}",
                f"if nobody else uses it: sudo chown {person.name}: {person.home}; else give {person.name} another: "
                f"sudo usermod --home /home/{person.name} {person.name} && sudo mkhomedir_helper {person.name}",
            )
        elif wrong:
            found = problem if severe else warning
            mend = f"sudo chmod u+rwx,o-w {person.home}"
            yield found(f"{person.home}, the home of {person.name}, {wrong}", mend)
        elif closed := first_closed(chain(person.home)[:-1]):
            yield problem(
                f"{person.name} cannot pass {closed.path} on the way to {person.home}", f"sudo chmod o+x {closed.path}"
            )


@check(
    "home-open",
    "No home can be read by everybody on the machine",
    why=(
        "Servers are apart from each other, and files are as their folder's mode says: in a home with mode 0755 every "
        "other person of the machine reads the notebooks."
    ),
    mend="sudo chmod o-rwx HOME",
)
def home_open(scene: Scene) -> Iterator[Finding]:
    if not scene.layout.system:
        return
    for person in scene.people:
        mode = person.home.stat().st_mode if person.home.is_dir() else 0
        # Entering alone (0711) is what ~/public_html needs, and shows no names.
        if mode & stat.S_IROTH:
            mend = f"sudo chmod o-rwx {person.home}"
            yield warning(
                f"{person.home}, the home of {person.name}, has mode {stat.S_IMODE(mode):04o}: everybody can read it",
                mend,
            )


def _homes(scene: Scene) -> Iterator[tuple[str, Path]]:
    for person in scene.people:
        if person.home.is_dir():
            yield person.name, person.home
    if scene.layout.system and scene.root:
        yield "root", Path("/root")


@check(
    "leftover-jupyter",
    "No Jupyter configuration of earlier times misleads anybody",
    why=(
        "~/.jupyter, ~/.local/etc/jupyter and a JupyterHub's files in /root are not read by manylab's servers: what "
        "is set there has no effect on the site."
    ),
    mend=(
        "nothing has to be done; to be rid of them: mv ~/.jupyter/jupyter_notebook_config.py "
        "~/jupyter_notebook_config.py.old"
    ),
)
def leftover_jupyter(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        left = [
            path
            for folder in (home / ".jupyter", home / ".local/etc/jupyter")
            for kind in ("*config.py", "*config.json", "*config.d")
            for path in listed(folder, kind)
        ]
        for path in left:
            yield fine(f"{path} of {name} is not read by manylab's servers")


SYSTEM_CONFIG = ("etc/jupyter", "usr/local/etc/jupyter")


@check(
    "system-jupyter-config",
    "No configuration of another Jupyter changes everybody's server",
    why=(
        "Jupyter Server also reads /etc/jupyter and /usr/local/etc/jupyter: an extension or setting left there can "
        "keep all servers from starting."
    ),
    mend=(
        "sudo mv /etc/jupyter /etc/jupyter.old (likewise /usr/local/etc/jupyter), unless you put it there for this site"
    ),
)
def system_config(scene: Scene) -> Iterator[Finding]:
    for name in SYSTEM_CONFIG:
        folder = (scene.layout.root if scene.layout.system else Path("/")) / name
        for path in (*listed(folder, "*config.py"), *listed(folder, "*config.json"), *listed(folder, "*.d/*.json")):
            yield warning(f"{path} is read by everybody's server", f"sudo mv {path} {path}.old")


@check(
    "leftover-startup",
    "No IPython startup file changes people's kernels unnoticed",
    why=(
        "Files in ~/.ipython/profile_default are run at the start of every kernel of that person; one that fails or "
        "is slow looks as if the site did."
    ),
    mend="let the person look at it: mv ~/.ipython/profile_default/startup ~/startup.old",
)
def leftover_startup(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        profile = home / ".ipython/profile_default"
        for path in (
            *listed(profile / "startup", "*.py"),
            *listed(profile / "startup", "*.ipy"),
            *listed(profile, "*config.py"),
        ):
            if name != "root":
                yield warning(f"{path} is run by every kernel of {name}; the server itself does not read it")


@check(
    "leftover-packages",
    "Packages in people's homes do not mislead them",
    why=(
        "`pip install --user` puts packages into ~/.local/lib: kernels with that Python see them after what is shared, "
        "and start cold; servers do not see them."
    ),
    mend=(
        "nothing has to be done; a package that kernels should have goes into an environment: sudo manylab env add "
        "default PACKAGE"
    ),
)
def leftover_packages(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        for path in listed(home / ".local/lib", "python3*/site-packages"):
            if not path.is_symlink() and any(path.iterdir()):
                yield fine(f"{path} of {name} is seen by that person's kernels, which start cold, and not by servers")


@check(
    "kernel-broken-home",
    "The kernels that people made themselves can start",
    why="A kernel whose environment was deleted is offered in that person's launcher and then never starts.",
    mend="let the person remove it: rm -r ~/.local/share/jupyter/kernels/NAME",
)
def kernel_broken_home(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        for path, wrong in broken_specs(home / ".local/share/jupyter/kernels"):
            yield warning(
                f"the kernel {path.parent.name!r} of {name} {wrong}",
                # As that person: the folders above are theirs, and may be links by the time that somebody types this.
                f"sudo -u {shlex.quote(name)} rm -r {shlex.quote(str(path.parent))}",
            )


@check(
    "kernel-shadowed",
    "Nobody's own python3 kernel is hidden by the site's",
    why=(
        "The site's kernels come first: a person's own kernel called python3 is not offered, although `jupyter "
        "kernelspec` in another Python lists it."
    ),
    mend=(
        "let the person give it another name: mv ~/.local/share/jupyter/kernels/python3 "
        "~/.local/share/jupyter/kernels/my-python"
    ),
)
def kernel_shadowed(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        folder = home / ".local/share/jupyter/kernels/python3"
        if name != "root" and exists(folder / "kernel.json"):
            yield fine(f"{folder} of {name} is hidden by the site's python3")


_SHELL_LINES = {
    "PYTHONPATH": re.compile(r"^[^#\n]*\bPYTHONPATH=", re.MULTILINE),
    "PYTHONHOME": re.compile(r"^[^#\n]*\bPYTHONHOME=", re.MULTILINE),
    "conda": re.compile(r">>> (?:conda|mamba) initialize >>>|^[^#\n]*\bconda(?:\.sh|\s+activate)", re.MULTILINE),
    "JUPYTER_*": re.compile(r"^[^#\n]*\bJUPYTER_[A-Z_]+=", re.MULTILINE),
}


def shell_lines(text: str) -> list[str]:
    """What a dotfile sets that changes which Python or packages a terminal has. Pure."""
    return [name for name, pattern in _SHELL_LINES.items() if pattern.search(text)]


@check(
    "leftover-dotfiles",
    "No dotfile changes which Python people's terminals have",
    why=(
        "Terminals of the Lab read ~/.bashrc and its like: `python` there may not be the site's. Servers and "
        "kernels do not read them."
    ),
    mend=(
        "let the person take the lines out (conda: conda init --reverse), or leave it as it is: only terminals are "
        "concerned"
    ),
)
def leftover_dotfiles(scene: Scene) -> Iterator[Finding]:
    for name, home in _homes(scene):
        if name == "root":
            continue
        for dotfile in DOTFILES:
            if left := shell_lines(_text(home / dotfile)):
                yield warning(
                    f"{home / dotfile} of {name} has lines about {', '.join(left)}: only terminals are concerned"
                )


def _text(path: Path) -> str:
    """The beginning of an ordinary file; "" for anything else. Its owner may have planted a link or a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(_LARGEST_DOTFILE).decode("utf-8", "replace")
