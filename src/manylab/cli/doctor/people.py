"""People's homes: there, theirs, and what was left in them that changes what they see. Only names are ever shown."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from manylab.cli.doctor.homes import Home
from manylab.cli.doctor.paths import listed
from manylab.cli.doctor.scene import Scene
from manylab.cli.doctor.table import Finding, check, fine, problem, warning
from manylab.system.accounts import Person
from manylab.system.files import owner_name


def _homes(scene: Scene) -> Iterator[tuple[Person, Home]]:
    """Homes that are there and let their person in."""
    for person in scene.people:
        home = scene.homes[person.name]
        if isinstance(home, Home) and home.there:
            yield person, home


@check(
    "home-silent",
    "Every home answers",
    why="A server whose home is on a file system that does not answer hangs, and so does what looks into that home.",
    mend="look at what is mounted there (findmnt -T HOME) and at the machine that has the files",
)
def home_silent(scene: Scene) -> Iterator[Finding]:
    for person in scene.people:
        home = scene.homes[person.name]
        if not isinstance(home, Home):
            yield problem(
                f"{person.name}: the home folder {person.home} {home}", f"findmnt -T {shlex.quote(str(person.home))}"
            )
        elif home.error:
            yield problem(f"{person.name}: the home folder {person.home} cannot be looked at: {home.error}")


@check(
    "home-missing",
    "Every member has a home",
    why="A server starts in its person's home; without one it is refused.",
    mend="sudo mkhomedir_helper NAME",
)
def home_missing(scene: Scene) -> Iterator[Finding]:
    for person in scene.people:
        home = scene.homes[person.name]
        if isinstance(home, Home) and not (home.there or home.error or home.closed):
            yield problem(
                f"{person.name} has no home: {person.home} is not there",
                f"sudo mkhomedir_helper {shlex.quote(person.name)}",
            )


def judge_home(mode: int, owner: int, uid: int, usable: bool) -> tuple[str, bool]:
    """(what is wrong with a home, whether a server cannot work in it); ("", False) when nothing. Pure.

    usable: whether its person can use it, which an access list may let them whatever mode and owner are.
    """
    if not usable and owner != uid:
        return f"belongs to {owner_name(owner)}", True
    if not usable:
        return f"has mode {stat.S_IMODE(mode):04o}: its owner cannot use it", True
    if mode & stat.S_IWOTH:
        return f"has mode {stat.S_IMODE(mode):04o}: everybody can change it", False
    return "", False


@check(
    "home-unusable",
    "Every person can use their home",
    why=(
        "In a home of somebody else, or behind a folder that is closed, nothing can be saved and the server or its "
        "kernels fail."
    ),
    mend="sudo chown NAME: HOME && sudo chmod u+rwx,o-w HOME",
)
def home_unusable(scene: Scene) -> Iterator[Finding]:
    for person in scene.people:
        home = scene.homes[person.name]
        if not isinstance(home, Home):
            continue
        name, folder = shlex.quote(person.name), shlex.quote(str(person.home))
        if home.closed:
            yield problem(
                f"{person.name} cannot pass {home.closed} on the way to {person.home}",
                f"sudo chmod o+x {shlex.quote(home.closed)}",
            )
        elif home.there:
            wrong, severe = judge_home(home.mode, home.owner, person.uid, home.usable)
            # No plain chown: the folder may well be somebody else's, or the system's.
            mend = f"sudo chmod u+rwx,o-w {folder}"
            if home.owner != person.uid and severe:
                mend = (
                    f"if nobody else uses it: sudo chown {name}: {folder}; else give {name} another: "
                    f"sudo usermod --home /home/{name} {name} && sudo mkhomedir_helper {name}"
                )
            if wrong:
                found = problem if severe else warning
                yield found(f"{person.home}, the home of {person.name}, {wrong}", mend)


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
    for person, home in _homes(scene):
        # Entering alone (0711) is what ~/public_html needs, and shows no names.
        if home.mode & stat.S_IROTH and home.strangers_pass:
            mode = f"mode {stat.S_IMODE(home.mode):04o}"
            yield warning(
                f"{person.home}, the home of {person.name}, has {mode}: everybody can read it",
                f"sudo chmod o-rwx {shlex.quote(str(person.home))}",
            )


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
    for name, home in _with_root(scene):
        for path in home.jupyter:
            yield fine(f"{path} of {name} is not read by manylab's servers")


def _with_root(scene: Scene) -> Iterator[tuple[str, Home]]:
    for person, home in _homes(scene):
        yield person.name, home
    if scene.layout.system and scene.root and isinstance(scene.home_of_root, Home):
        yield "root", scene.home_of_root


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
    for person, home in _homes(scene):
        for path in home.startup:
            yield warning(f"{path} is run by every kernel of {person.name}; the server itself does not read it")


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
    for name, home in _with_root(scene):
        for path in home.packages:
            yield fine(f"{path} of {name} is seen by that person's kernels, which start cold, and not by servers")


@check(
    "kernel-broken-home",
    "The kernels that people made themselves can start",
    why="A kernel whose environment was deleted is offered in that person's launcher and then never starts.",
    mend="let the person remove it: rm -r ~/.local/share/jupyter/kernels/NAME",
)
def kernel_broken_home(scene: Scene) -> Iterator[Finding]:
    for name, home in _with_root(scene):
        for path, wrong in home.specs:
            folder = Path(path).parent
            yield warning(
                f"the kernel {folder.name!r} of {name} {wrong}",
                # As that person: the folders above are theirs, and may be links by the time that somebody types this.
                f"sudo -u {shlex.quote(name)} rm -r {shlex.quote(str(folder))}",
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
    for person, home in _homes(scene):
        if home.python3:
            yield fine(f"{home.python3} of {person.name} is hidden by the site's python3")


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
    for person, home in _homes(scene):
        for path, left in home.dotfiles:
            yield warning(f"{path} of {person.name} has lines about {', '.join(left)}: only terminals are concerned")
