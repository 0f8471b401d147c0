"""`./manylab test`: everything that holds this project together, on a machine of whoever asks. Only in a checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from manylab.base.errors import CommandFailed, Unsupported
from manylab.cli.app import app, command
from manylab.cli.result import Progress, Result
from manylab.system import registries
from manylab.system.environments import uv_program
from manylab.system.facts import PACKAGE
from manylab.system.run import run

# What tests need beyond Debian's minbase, and a file of each package, which is how we see that it is there.
PACKAGES = {
    "chromium": "usr/bin/chromium",
    "debootstrap": "usr/sbin/debootstrap",
    "fonts-dejavu-core": "usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "fonts-noto-cjk": "usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "git": "usr/bin/git",
    "iproute2": "usr/sbin/ip",
    "mount": "usr/bin/umount",
    "openssl": "usr/bin/openssl",
    "procps": "usr/bin/ps",
    "shellcheck": "usr/bin/shellcheck",
    "sudo": "usr/sbin/visudo",
    "systemd": "usr/bin/systemd-analyze",
    "util-linux": "usr/bin/setpriv",
}
INSTALL_TIMEOUT = 1800.0


class Part(str, Enum):
    """A folder of tests/."""

    UNIT = "unit"
    SECURITY = "security"
    MACHINE = "machine"
    BROWSER = "browser"


QUICK = (Part.UNIT, Part.SECURITY)


@command(app, "test", example="./manylab test --only machine -k rollback")
def test(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what needs whole machines or a browser.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is marked as soak: crowds, kills, every machine. Before a release.")
    ] = False,
    only: Annotated[Part | None, typer.Option("--only", help="Only one folder of tests/.")] = None,
    expression: Annotated[
        str, typer.Option("-k", metavar="EXPR", help="Only tests whose names match, as pytest's -k.")
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", "-n", help="How many tests run at the same time. Default: two more than processors, at most 8."
        ),
    ] = None,
    exit_first: Annotated[bool, typer.Option("--exitfirst", "-x", help="Stop at the first failure.")] = False,
) -> Result:
    """Run the project's own tests.

    As root it installs what they need; else it says what is missing and runs what it can.
    """
    checkout = find_checkout()
    with Progress() as progress:
        _provide_packages(progress)
        python = _provide_environment(checkout, progress)
    parts = QUICK if quick else tuple(Part)
    folders = [checkout / "tests" / part.value for part in ((only,) if only else parts)]
    # -r: what was skipped is summed up by tests/conftest.py, in fewer lines than pytest's own.
    argv = [str(python), "-m", "pytest", "-rfEx", "--rootdir", str(checkout), "--durations=15", "--durations-min=1"]
    # The tests of one site for one worker, and in the order of tests/support/order.py.
    # Machine tests wait as much as they compute, so there are two workers more than there are processors.
    at_once = str(workers or min(8, (os.cpu_count() or 1) + 2))
    argv += ["--numprocesses", at_once, "--dist", "loadfile", "--no-loadscope-reorder"]
    argv += [*(["-k", expression] if expression else []), *(["-x"] if exit_first else [])]
    argv += [str(folder) for folder in folders if any(folder.rglob("test_*.py"))]
    argv += ["-m", "" if everything else "not soak"]
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS")
    }
    kept |= {"MANYLAB_EVERYWHERE": "1"} if everything else {}
    os.chdir(checkout)
    # pytest takes this process's place, so that Ctrl-C, its exit status and its last line are its own.
    os.execve(python, argv, kept)  # noqa: S606  an argv list, no shell
    raise AssertionError("not reached: pytest replaced this process")


def find_checkout() -> Path:
    """The folder that src/ and tests/ are in. Raises Unsupported where manylab is installed and no checkout."""
    checkout = PACKAGE.parents[1]
    if PACKAGE.parent.name != "src" or not (checkout / "tests").is_dir():
        raise Unsupported(
            "the tests are not part of an installed manylab", hint="run ./manylab test in a git checkout of the project"
        )
    return checkout


def _provide_packages(progress: Progress) -> None:
    missing = [package for package, file in PACKAGES.items() if not Path("/", file).exists()]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        what = "apt-get" if os.geteuid() == 0 else "root"
        progress.say(
            f"manylab: not installed, and there is no {what} to install it: {' '.join(missing)}; "
            "tests that need them are skipped"
        )
        return
    progress.say(f"manylab: installing {' '.join(missing)}")
    environment = {**registries.environment(registries.Mirrors()), "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
    try:
        run(install, timeout=INSTALL_TIMEOUT, env=environment)
    except CommandFailed:  # the lists may be missing or old; fetching them takes a while and is often not needed
        run(["apt-get", "update", "-qq"], timeout=INSTALL_TIMEOUT, env=environment)
        run(install, timeout=INSTALL_TIMEOUT, env=environment)


def _provide_environment(checkout: Path, progress: Progress) -> Path:
    """The Python of an environment with what locks/test.txt names, and with this checkout's code. Made once for each
    lock.

    Root's is where everybody can read it: some tests become other accounts.
    """
    lock = PACKAGE / "locks" / "test.txt"
    if os.geteuid() == 0:
        cache = Path(os.environ.get("MANYLAB_TEST_CACHE") or "/var/cache/manylab-tests")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "manylab-tests"
    base = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
    key = hashlib.sha256(b"\0".join([lock.read_bytes(), base.encode(), str(checkout).encode()])).hexdigest()[:12]
    folder = cache / "python" / key
    python = folder / "bin" / "python"
    if (folder / "complete").exists() and os.access(python, os.X_OK):
        return python
    progress.say(f"create the tests' environment in {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **registries.environment(registries.Mirrors()),
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_NO_CONFIG": "1",
    }
    uv = uv_program()
    run([uv, "venv", "-q", "--clear", "--python", base, str(folder)], timeout=300, env=environment)
    sync = [uv, "pip", "sync", "--only-binary", ":all:", "--require-hashes", "--python", str(python), str(lock)]
    run(sync, timeout=INSTALL_TIMEOUT, env=environment)
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    (packages / "manylab-checkout.pth").write_text(f"{PACKAGE.parent}\n", encoding="utf-8")
    (folder / "complete").touch()
    return python
