"""What is in a person's home, looked at once for all checks: by a process of that person, as people may plant links."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manylab.cli.doctor.kernel_specs import broken_specs
from manylab.cli.doctor.paths import Seen, exists, first_closed, listed

# A dotfile with an installer's additions is some kilobytes.
_LARGEST_DOTFILE = 256 * 1024
DOTFILES = (".profile", ".bash_profile", ".bash_login", ".bashrc", ".zshrc", ".zprofile", ".zshenv")
_SHELL_LINES = {
    "PYTHONPATH": re.compile(r"^[^#\n]*\bPYTHONPATH=", re.MULTILINE),
    "PYTHONHOME": re.compile(r"^[^#\n]*\bPYTHONHOME=", re.MULTILINE),
    "conda": re.compile(r">>> (?:conda|mamba) initialize >>>|^[^#\n]*\bconda(?:\.sh|\s+activate)", re.MULTILINE),
    "JUPYTER_*": re.compile(r"^[^#\n]*\bJUPYTER_[A-Z_]+=", re.MULTILINE),
}


@dataclass(frozen=True)
class Home:
    """A home as its person sees it; all paths are text, for JSON.

    error: why it cannot be looked at, "" when it can. there: whether it is a folder. closed: the folder above it that
    the person cannot pass, or "". usable: whether they can list, change and enter it, whatever it is that lets them
    (mode, access list). strangers_pass: whether all folders above it let everybody through. jupyter, startup, packages:
    what was found of those. specs: files of kernels, and what is wrong with them. dotfiles: files, and what they set.
    """

    error: str = ""
    there: bool = False
    closed: str = ""
    mode: int = 0
    owner: int = -1
    usable: bool = False
    strangers_pass: bool = False
    jupyter: tuple[str, ...] = ()
    startup: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    python3: str = ""
    specs: tuple[tuple[str, str], ...] = ()
    dotfiles: tuple[tuple[str, tuple[str, ...]], ...] = ()


def look_at(path: Path) -> dict[str, Any]:
    """The Home at this path, as `of` takes it. To be asked as its person; it may take for ever."""
    above = list(reversed(path.parents))
    try:
        real = path.resolve(strict=True)
        above = list(reversed(real.parents))
        status = real.stat()
    except (FileNotFoundError, NotADirectoryError):
        return asdict(Home())
    except PermissionError:
        closed = next((str(part) for part in above if not os.access(part, os.X_OK)), "")
        return asdict(Home(closed=closed, error="" if closed else "Permission denied"))
    except OSError as error:
        return asdict(Home(error=str(error.strerror)))
    seen = [Seen(part, part.stat().st_mode, 0) for part in above]
    return asdict(
        Home(
            there=stat.S_ISDIR(status.st_mode),
            mode=status.st_mode,
            owner=status.st_uid,
            usable=os.access(real, os.R_OK | os.W_OK | os.X_OK),
            strangers_pass=first_closed(seen) is None,
            jupyter=_found(lambda: _jupyter(real)),
            startup=_found(lambda: _startup(real)),
            packages=_found(lambda: _packages(real)),
            python3=next(iter(_found(lambda: _own_python3(real))), ""),
            specs=_found(lambda: _specs(real)),
            dotfiles=_found(lambda: _dotfiles(real)),
        )
    )


def of(data: dict[str, Any]) -> Home:
    """What `look_at` said, back from JSON."""
    return Home(**data)


def _found(look: Callable[[], Iterator[Any]]) -> tuple[Any, ...]:
    """All that it finds; what was found so far when the rest may not be looked at."""
    found = []
    try:
        for one in look():
            found.append(one)
    except OSError:
        pass
    return tuple(found)


def _jupyter(home: Path) -> Iterator[str]:
    for folder in (home / ".jupyter", home / ".local/etc/jupyter"):
        for kind in ("*config.py", "*config.json", "*config.d"):
            yield from map(str, listed(folder, kind))


def _startup(home: Path) -> Iterator[str]:
    profile = home / ".ipython/profile_default"
    for folder, kind in ((profile / "startup", "*.py"), (profile / "startup", "*.ipy"), (profile, "*config.py")):
        yield from map(str, listed(folder, kind))


def _packages(home: Path) -> Iterator[str]:
    for path in listed(home / ".local/lib", "python3*/site-packages"):
        if not path.is_symlink() and any(path.iterdir()):
            yield str(path)


def _own_python3(home: Path) -> Iterator[str]:
    folder = home / ".local/share/jupyter/kernels/python3"
    if exists(folder / "kernel.json"):
        yield str(folder)


def _specs(home: Path) -> Iterator[tuple[str, str]]:
    for path, wrong in broken_specs(home / ".local/share/jupyter/kernels"):
        yield str(path), wrong


def _dotfiles(home: Path) -> Iterator[tuple[str, list[str]]]:
    for dotfile in DOTFILES:
        if left := shell_lines(_text(home / dotfile)):
            yield str(home / dotfile), left


def shell_lines(text: str) -> list[str]:
    """What a dotfile sets that changes which Python or packages a terminal has. Pure."""
    return [name for name, pattern in _SHELL_LINES.items() if pattern.search(text)]


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
