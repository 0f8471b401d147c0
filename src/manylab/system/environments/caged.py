"""Programs of an environment, started in the cage (`cage`): where root wants something from a package's code."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from manylab.model.resources import Environment
from manylab.system.run import SAFE_PATH

_HERE = Path(__file__).parent
_NOBODY = 65534
# Hidden in the cage, where the environment itself is not below them.
_COVER = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", "/var/lib/manylab")  # noqa: S108


@dataclass(frozen=True)
class Account:
    """Who a cage's program runs as; None of it where this program is not root. own: it is there for nothing else."""

    uid: int
    gid: int
    own: bool = True


def account(name: str) -> Account | None:
    """The account for trying things out. Without root there is only oneself."""
    if os.getuid() != 0:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return Account(_NOBODY, _NOBODY, own=False)
    return Account(found.pw_uid, found.pw_gid)


def caged(program: list[str], want: Environment, folder: Path, who: Account | None) -> list[str]:
    """The program as it is started: in a cage when this is root, else with a home of its own."""
    covered = [path for path in _COVER if Path(path).is_dir() and not want.path.is_relative_to(path)]
    variables = {
        "PATH": f"{want.path}/bin:{SAFE_PATH}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NODE_DISABLE_COMPILE_CACHE": "1",
        "MPLBACKEND": "Agg",
    }
    if who is None:
        return ["/usr/bin/env", "-i", *(f"{key}={value}" for key, value in variables.items()), *program]
    settings = {"uid": who.uid, "gid": who.gid, "own": who.own, "cover": covered, "variables": variables}
    text = (_HERE / "cage.py").read_text(encoding="utf-8")
    return [want.python, "-I", "-S", "-c", text, json.dumps(settings), *program]
