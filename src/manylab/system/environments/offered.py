"""The environments that one person can use: the site's, as its kernels name them, and their own."""

from __future__ import annotations

import contextlib
import grp
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manylab.base.layout import Layout
from manylab.system.environments import record

# Where `env copy` puts environments of people's own, below their home: where they see it.
OWN_FOLDER = "envs"


@dataclass(frozen=True)
class Offered:
    """kind: "shared" (the site's), "own" (a kernel or an environment of theirs), "user" (`pip install --user`).

    path: of the environment, "" where only a command is known. packages: how many, None where that was not counted.
    variables: its own. usual: the site's, which one's own come before.
    """

    name: str
    kind: str
    title: str
    description: str
    python: str
    path: str
    packages: int | None
    variables: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "usual"}


def everything(layout: Layout, home: Path) -> list[Offered]:
    """What is there for whoever runs this, the site's first."""
    return [*shared(layout), *own(home), *user_packages(home)]


def shared(layout: Layout) -> Iterator[Offered]:
    """The site's environments that this process's groups are offered."""
    mine = {os.getgid(), *os.getgroups()}
    for folder in sorted((layout.jupyter_data / "kernels").glob("*")):
        spec = _spec(folder)
        said = spec.get("metadata", {}).get("manylab", {})
        groups = said.get("groups", [])
        # Not what a package of an environment brings besides (kernels.py).
        if spec and "kernel" not in said and (not groups or any(_number(name) in mine for name in groups)):
            path = Path(spec["argv"][0]).parents[1]
            title, description = str(spec.get("display_name", "")), str(said.get("description", ""))
            name = str(said.get("environment", folder.name))
            more = variables_of(spec), dict(said.get("variables", {}))
            yield Offered(name, "shared", title, description, python_of(path), str(path), count(path), *more)


def own(home: Path) -> Iterator[Offered]:
    """Kernels in the person's own Jupyter folder, and copies without one."""
    data = Path(os.environ.get("JUPYTER_DATA_DIR") or home / ".local/share/jupyter")
    seen = set()
    for folder in sorted((data / "kernels").glob("*")):
        spec = _spec(folder)
        if not spec:
            continue
        path = Path(spec["argv"][0]).parent.parent
        if not (path / "pyvenv.cfg").exists() and not (path / "conda-meta").is_dir():
            path = Path()
        seen.add(path)
        where = "" if path == Path() else str(path)
        python, number = (python_of(path), count(path)) if where else ("", None)
        title = str(spec.get("display_name", ""))
        yield Offered(folder.name, "own", title, "", python, where, number, variables_of(spec))
    for path in sorted((home / OWN_FOLDER).glob("*")):
        if path not in seen and (path / "pyvenv.cfg").exists():
            yield Offered(path.name, "own", "", "", python_of(path), str(path), count(path))


def user_packages(home: Path) -> Iterator[Offered]:
    """What `pip install --user` has put into a home: it is seen by every environment with that Python."""
    for folder in sorted((home / ".local/lib").glob("python3.*")):
        if number := len(list(folder.glob("site-packages/*.dist-info"))):
            minor = folder.name.removeprefix("python")
            yield Offered("--user", "user", "", "", minor, str(folder / "site-packages"), number)


def python_of(path: Path) -> str:
    """The Python of an environment, like "3.11"; "" where it has none."""
    found = sorted(path.glob("lib/python3.*/site-packages"))
    return found[0].parent.name.removeprefix("python") if found else ""


def count(path: Path) -> int:
    """How many packages are installed in an environment."""
    with contextlib.suppress(StopIteration, OSError):
        return len(list(record.site_packages(path).glob("*.dist-info")))
    return 0


def variables_of(spec: dict[str, Any]) -> dict[str, str]:
    """The variables of a kernel that are plain text; PATH is not, nor what names other variables."""
    found = spec.get("env")
    texts = (
        {str(name): text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}
    )
    plain = {name: text.replace("$$", "") for name, text in texts.items()}
    return {name: text.replace("$$", "$") for name, text in texts.items() if "$" not in plain[name] and name != "PATH"}


def _spec(folder: Path) -> dict[str, Any]:
    """A kernel.json with a command; {} for anything else that lies there."""
    with contextlib.suppress(OSError, ValueError):
        spec = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
        if isinstance(spec, dict) and isinstance(spec.setdefault("metadata", {}), dict):
            argv = spec.get("argv")
            if isinstance(argv, list) and argv and isinstance(argv[0], str):
                return spec
    return {}


def _number(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
