"""What comes with manylab beside its code: locks with hashes and no addresses, templates, a wheel with all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomlkit
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
SOURCE = CHECKOUT / "src" / "manylab"
LOCKS = sorted((SOURCE / "locks").glob("*.txt"))
REGISTRIES = re.compile(
    r"https?://[^\s\"']*(pypi\.org|pythonhosted\.org|npmjs|yarnpkg|anaconda|conda\.io|tuna\.tsinghua|aliyun|debian\.org)[^\s\"']*"
)
# Where an address of a registry is an example for readers.
PROSE = {".md"}


def entries(lock: Path) -> list[str]:
    """Each requirement of a lock with its hashes, as one line."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def requirements(path: Path) -> set[str]:
    """The requirements of a .in file, in one spelling."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return {str(Requirement(line)) for line in lines if line and not line.startswith(("#", "-r "))}


def test_the_command_line_s_lock_is_of_what_the_package_declares():
    project = tomlkit.parse((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert requirements(SOURCE / "locks/tool.in") == {str(Requirement(one)) for one in project["dependencies"]}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_line_of_a_lock_is_one_version_with_its_hashes(lock):
    assert entries(lock)
    for entry in entries(lock):
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+( ?;[^\\]*?)?\s+--hash=sha256:[0-9a-f]{64}", entry), entry[:200]
        assert not re.findall(r"--(?!hash=sha256:[0-9a-f]{64}(?:\s|$))\S+", entry), entry[:200]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_all_that_it_was_asked_for(lock):
    named = {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", entry)[0]).lower() for entry in entries(lock)}
    wanted = {re.sub(r"[-_.]+", "-", Requirement(one).name).lower() for one in requirements(lock.with_suffix(".in"))}
    assert wanted <= named


def test_every_lock_says_what_it_was_solved_from():
    assert {path.stem for path in LOCKS} == {path.stem for path in (SOURCE / "locks").glob("*.in")}


def test_npm_s_lock_pins_everything_by_hash_and_names_no_registry():
    packages = json.loads((SOURCE / "locks/package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, package in packages.items():
        if name:
            assert package["integrity"].startswith("sha512-"), name
            assert "resolved" not in package, f"{name} names a registry"
    proxy = packages["node_modules/configurable-http-proxy"]["version"]
    assert tuple(map(int, proxy.split(".")[:2])) >= (5, 3)


def tracked() -> list[Path]:
    """All files of the checkout that belong to it."""
    if (CHECKOUT / ".git").exists():
        git = ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT), "ls-files", "-co", "--exclude-standard"]
        names = subprocess.run(git, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
        return [CHECKOUT / name for name in names if (CHECKOUT / name).is_file()]
    return [path for path in CHECKOUT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_no_address_of_a_registry_is_written_in_the_project():
    found = []
    for path in tracked():
        if path.suffix in PROSE or path in (Path(__file__), SOURCE / "config/mirror_sets.py"):
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(CHECKOUT)}: {match[0]}" for match in REGISTRIES.finditer(text)]
    assert found == []


def uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel that `uv build` makes of this checkout."""
    if uv() is None:
        pytest.skip("uv is not beside this Python")
    out = tmp_path_factory.mktemp("wheel")
    # --no-config: whatever this host's uv is told; the cache is its own.
    done = subprocess.run(
        [uv(), "build", "--wheel", "--no-config", "--python", sys.executable, "--out-dir", str(out), str(CHECKOUT)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    if done.returncode and re.search(
        r"hatchling.*(not found|unsatisfiable)|Failed to fetch|dns error|error sending request", done.stderr, re.DOTALL
    ):
        pytest.skip("the build backend (hatchling) cannot be downloaded")
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_everything_that_the_checkout_s_package_has(wheel):
    have = {name for name in wheel.namelist() if name.startswith("manylab/")}
    want = {str(path.relative_to(SOURCE.parent)) for path in tracked() if path.is_relative_to(SOURCE)}
    assert want == have
    for needed in (
        "py.typed",
        "locks/hub.txt",
        "locks/package-lock.json",
        "hub/templates/login.html",
        "lab/__main__.py",
    ):
        assert f"manylab/{needed}" in have


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    names = wheel.namelist()
    points = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert "manylab = manylab.cli.main:main" in wheel.read(points).decode()
    assert any(name.endswith("LICENSE") for name in names)
