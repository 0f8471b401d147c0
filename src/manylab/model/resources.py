"""The kinds of thing on a machine that manylab looks after. Plain data; `system` observes and changes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# The backend of an environment that is made of packages of conda channels.
CONDA = "conda"


@dataclass(frozen=True)
class Directory:
    """A folder. mode: permission bits. Owner and group are names; "" leaves them to whoever runs manylab.

    contents: what is directly in it is the owner's too (its account may have been made anew, with another number).
    """

    path: Path
    mode: int = 0o755
    owner: str = ""
    group: str = ""
    contents: bool = False

    @property
    def key(self) -> str:
        return f"directory {self.path}"


@dataclass(frozen=True)
class File:
    """A file with known content. secret: its content is never shown.

    volatile: not compared, only created when missing.
    """

    path: Path
    content: str
    mode: int = 0o644
    owner: str = ""
    group: str = ""
    secret: bool = False
    volatile: bool = False

    @property
    def key(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True)
class Line:
    """One line of ours in a file of somebody else's; nothing where there is no such file, which is not ours to make."""

    path: Path
    line: str

    @property
    def key(self) -> str:
        return f"line in {self.path}"


@dataclass(frozen=True)
class Secret:
    """One random value, made once and kept: `paths` all hold it, each with its own owner and wrapping text.

    nbytes: length of the random part in bytes (written in hexadecimal). Each copy is (path, owner, group, template),
    the
    template having one `{}` for the value. The first copy is the original.
    """

    name: str
    copies: tuple[tuple[Path, str, str, str], ...]
    nbytes: int = 32

    @property
    def key(self) -> str:
        return f"secret {self.name}"


@dataclass(frozen=True)
class Link:
    """A symbolic link; changed in one rename."""

    path: Path
    target: str

    @property
    def key(self) -> str:
        return f"link {self.path}"


@dataclass(frozen=True)
class Copy(Link):
    """A file with the content of another one, `target`, whatever that is; nothing where there is no such file.

    Not a link: Jupyter serves no file that leads out of its folder.
    """

    @property
    def key(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True)
class Group:
    """A group of the machine. system: its number is from the range of system groups."""

    name: str
    system: bool = True

    @property
    def key(self) -> str:
        return f"group {self.name}"


@dataclass(frozen=True)
class Account:
    """A system account that runs a part of manylab: no password, no shell."""

    name: str
    group: str
    groups: tuple[str, ...] = ()
    home: str = "/nonexistent"

    @property
    def key(self) -> str:
        return f"account {self.name}"


@dataclass(frozen=True)
class Asked:
    """What manylab.toml asked for in an environment: its packages, its Python and its backend, as written there.

    channels, pip: of the conda backend. source: packages that may be built from source, of the other. indexes: asked
    before the site's own. variables: what it is tried with; no reason to build it anew.
    """

    packages: tuple[str, ...]
    python: str
    backend: str
    channels: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def as_data(self) -> dict[str, object]:
        """For the record of a generation."""
        said: dict[str, object] = {"packages": list(self.packages), "python": self.python, "backend": self.backend}
        more = {name: list(getattr(self, name)) for name in ("channels", "pip", "source", "indexes")}
        return said | {name: value for name, value in more.items() if value}


@dataclass(frozen=True)
class Environment:
    """One generation of an environment: a folder that is complete or does not count.

    digest names everything that went into it. lock: the packages, each with its hashes (pip's format). python: the
    interpreter that it is made
    with, python_minor like "3.11". own_code: which packages of manylab itself go in ("*" for all). npm:
    (package.json, package-lock.json) to install beside, with the Node that the lock brings. requirements: what the
    lock was solved from. asked: what manylab.toml said, None where it says nothing.
    """

    name: str
    path: Path
    digest: str
    python: str
    python_minor: str
    lock: str
    own_code: tuple[str, ...] = ()
    npm: tuple[str, str] | None = None
    requirements: tuple[str, ...] = ()
    asked: Asked | None = None

    @property
    def key(self) -> str:
        return f"environment {self.name}"


@dataclass(frozen=True)
class KernelSource:
    """An environment whose packages may bring kernels of other languages. variables: of each kernel, before its own.

    groups: who is offered the environment, and so its kernels; () for everybody.
    """

    name: str
    path: Path
    groups: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Kernels:
    """The kernels that packages of environments bring, each as a folder below `folder`. What they are is known when the
    environments are there. differ: the names of those that are missing, differ, or are there for no reason.
    """

    folder: Path
    sources: tuple[KernelSource, ...]
    differ: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"kernels of packages in {self.folder}"


@dataclass(frozen=True)
class KernelLinks:
    """A link in `into` for each kernel in `folder`, whatever those are. differ: the names of links that are missing or
    lead nowhere.
    """

    folder: Path
    into: Path
    differ: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"links to kernels in {self.into}"


@dataclass(frozen=True)
class Service:
    """A unit of systemd or a script of init.d.

    revision: names the inputs that a running one must have been started with.
    """

    name: str
    enabled: bool = True
    running: bool = True
    revision: str = ""

    @property
    def key(self) -> str:
        return f"service {self.name}"


Resource = Directory | File | Line | Secret | Link | Group | Account | Environment | Kernels | KernelLinks | Service
