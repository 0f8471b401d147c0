"""What packages have put into an environment besides their modules: refused where it would take the environment
over, reported where people should know.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from manylab.base.errors import EnvironmentFailed
from manylab.system.environments import record
from manylab.system.environments.distributions import Distribution

# uv's own way of telling virtualenv from venv, in every environment that it makes.
_UV_FILES = ("_virtualenv.py", "_virtualenv.pth")
_INTERPRETERS = ("python", "python3")


def fingerprint(environment: Path) -> dict[str, str]:
    """What makes the folder an environment, as it was made: no package has any business with it."""
    packages = record.site_packages(environment)
    found = {}
    for path in (
        environment / "pyvenv.cfg",
        *sorted((environment / "bin").iterdir()),
        *(packages / name for name in _UV_FILES),
    ):
        found[str(path.relative_to(environment))] = _shown(path)
    for name in (record.MARKER, record.LOCK, "lib64", packages.relative_to(environment).as_posix()):
        found[name] = _shown(environment / name)
    return found


def _shown(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        return "folder"
    return f"file {path.read_bytes().hex()}" if path.exists() else ""


def check_untouched(environment: Path, before: Mapping[str, str], packages: Mapping[str, Distribution]) -> None:
    """Raises EnvironmentFailed, naming the package, when what makes the folder an environment was changed."""
    now = fingerprint(environment)
    minor = record.site_packages(environment).parent.name
    for name, was in {f"bin/{minor}": before.get(f"bin/{minor}", ""), **before}.items():
        if now.get(name, "") == was:
            continue
        whose = [one for one in packages.values() if _brings(one, environment, environment / name)]
        who = f"{whose[0].name} {whose[0].version} brings" if whose else "a package brings"
        raise EnvironmentFailed(
            f"{who} {name}, which belongs to the environment itself",
            hint="what was in use is untouched; leave that package out, and tell those who publish it",
        )


def _brings(package: Distribution, environment: Path, path: Path) -> bool:
    base = package.folder.parent
    return any(path == Path(_normal(base, text)) for text in package.files if text.startswith("..") or "/" not in text)


def _normal(base: Path, text: str) -> str:
    parts = list(base.parts)
    for part in Path(text).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts))


def report(environment: Path, packages: Mapping[str, Distribution]) -> list[str]:
    """What people should know of the packages, one line each; nothing of it is wrong in itself."""
    found = []
    kernels = record.site_packages(environment).parents[2] / "share/jupyter/kernels"
    owners: dict[str, str] = {}
    for package in packages.values():
        for name in package.files:
            if name.endswith(".pth") and "/" not in name:
                found.append(f"{package.name} runs code at every start of Python ({name})")
            if name.endswith("/kernel.json") and package.name != "ipykernel" and kernels.is_dir():
                found.append(f"{package.name} brings a kernel of its own ({Path(name).parent.name})")
        for module in sorted(package.top_level):
            if module in sys.stdlib_module_names:
                found.append(f"{package.name} brings a module with the name of one of Python's own ({module})")
            if f"{module}/__init__.py" in package.files or f"{module}.py" in package.files:
                if module in owners:
                    found.append(f"{package.name} brings the module {module}, and so does {owners[module]}")
                owners[module] = package.name
    return sorted(found)
