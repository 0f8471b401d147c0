"""Repositories on this machine that belong to another account, for nbgitpuller: a course in /srv, by root or a teacher.

git refuses them (`safe.directory`), because in a repository that somebody works in, its owner's hooks and configuration
would run. To fetch from one is another matter: `git upload-pack` runs no hooks, takes no command from the repository's
configuration, and since 2.39.4 and 2.45.1 fetches nothing by itself (git(1), "Security"). So those that a person agreed
to are named to git, for nbgitpuller's own commands only; the clone belongs to the person.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from manylab.lab import own


def path_of(repo: str) -> str | None:
    """The folder that an address is about, as git reads it; None for what is elsewhere. Pure."""
    path = unquote(repo.removeprefix("file://")) if repo.startswith("file://") else repo
    return path.rstrip("/") if path.startswith("/") and path.rstrip("/") and "\n" not in path else None


def names(path: str) -> list[str]:
    """What git may call the repository of that folder: where it is named, where links lead, with and without .git."""
    both = dict.fromkeys((path, os.path.realpath(path)))
    return [name + ending for name in both for ending in ("", "/.git", ".git", ".git/.git") if not path.endswith("*")]


def is_unreadable(path: str) -> bool:
    """Whether something is there, or may be, that this person cannot read: they would be told that it is not there."""
    try:
        found = [folder for folder in map(Path, names(path)) if _is_there(folder / "HEAD")]
    except PermissionError:
        return True
    return any(not os.access(folder / part, os.R_OK) for folder in found for part in ("HEAD", "objects", "refs"))


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def trust(repos: Iterable[str]) -> None:
    """Name exactly these repositories to the git of nbgitpuller from now on."""
    folders = [name for repo in repos if (path := path_of(repo)) for name in names(path)]
    lines = ["[include]", *(f"\tpath = {_quoted(file)}" for file in _usual()), "[safe]"]
    lines += [f"\tdirectory = {_quoted(folder)}" for folder in dict.fromkeys(folders)]
    _file().write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")


def use() -> None:
    """Have nbgitpuller run git with what `trust` wrote.

    GIT_CONFIG_GLOBAL and not `git -c`: that is not handed on to the process that reads the repository.
    """
    module: Any = sys.modules["nbgitpuller.pull"]
    module.subprocess = _WithTrust()


class _WithTrust:
    """The module `subprocess`, whose programs have GIT_CONFIG_GLOBAL."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(subprocess, name)
        return _with_variable(found) if name in ("run", "Popen", "check_call", "check_output") else found


def _with_variable(start: Callable[..., Any]) -> Callable[..., Any]:
    def started(*args: Any, env: dict[str, str] | None = None, **more: Any) -> Any:
        environ = dict(os.environ if env is None else env)
        if _file().exists():
            environ["GIT_CONFIG_GLOBAL"] = str(_file())
        return start(*args, env=environ, **more)

    return started


def _file() -> Path:
    return Path(own.environ["JUPYTER_RUNTIME_DIR"], "pulls.gitconfig")


def _usual() -> list[str]:
    """The files that GIT_CONFIG_GLOBAL takes the place of; those that are not there are ignored."""
    if given := os.environ.get("GIT_CONFIG_GLOBAL"):
        return [given]
    return [f"{os.environ.get('XDG_CONFIG_HOME') or '~/.config'}/git/config", "~/.gitconfig"]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'
