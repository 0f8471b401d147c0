"""What packages have put into an environment besides their modules: refused where it would take the environment
over, reported where people should know.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from manylab.base.errors import EnvironmentFailed
from manylab.system.environments import record
from manylab.system.environments.distributions import Distribution

# uv's own way of telling virtualenv from venv, in every environment that it makes.
_UV_FILES = ("_virtualenv.py", "_virtualenv.pth")
# uv's, and manylab's own (making).
_OWN_PTH = ("_virtualenv.pth", "_manylab_user.pth")
# Python imports these whenever it starts (site).
_AT_START = ("sitecustomize", "usercustomize")
_MODULE = re.compile(r"([^\W\d]\w*)(?:\.(?:cpython|abi3|cp)[\w-]*)?\.(?:py|so)")


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


def owners(environment: Path, packages: Mapping[str, Distribution]) -> dict[str, list[str]]:
    """Which packages say that a file is theirs: path below the environment -> names. Byte code is left out."""
    inside = f"{environment}/"
    found: dict[str, list[str]] = {}
    for name, files in record.conda_packages(environment):
        for file in files:
            found.setdefault(file, []).append(name)
    for package in packages.values():
        base = str(package.folder.parent)
        own = _below(inside, base, f"{package.folder.name}/METADATA")
        if own in found:  # conda's packages of Python modules have both records
            continue
        for text in dict.fromkeys(package.files):
            if (path := _below(inside, base, text)) and not path.endswith(".pyc"):
                found.setdefault(path, []).append(package.name)
    return found


def _below(inside: str, base: str, text: str) -> str:
    """A path of a RECORD in `base`, as one below the folder `inside`, which ends in a slash; "" when it is not."""
    # Strings: an environment has tens of thousands of files.
    path = os.path.normpath(text if text.startswith("/") else f"{base}/{text}")
    return path.removeprefix(inside) if path.startswith(inside) else ""


def report(environment: Path, packages: Mapping[str, Distribution]) -> list[str]:
    """What people should know of the packages, one line each; nothing of it is wrong in itself.

    The folders are looked at, and not what packages say of themselves: that tells only whose a file is.
    """
    whose = owners(environment, packages)

    def who(path: Path) -> str:
        names = whose.get(str(path.relative_to(environment)), [])
        return " and ".join(dict.fromkeys(names)) or "a package that does not say so"

    base = record.site_packages(environment)
    found = []
    for path in sorted(base.iterdir()):
        module = _module_of(path)
        if path.suffix == ".pth" and path.name not in _OWN_PTH:
            found.append(f"{who(path)} runs code at every start of Python ({path.name})")
        if module in _AT_START:
            found.append(f"{who(_first(path))} runs code at every start of Python ({path.name})")
        if module in sys.stdlib_module_names:
            owner = who(_first(path))
            found.append(f"{owner} brings a module with the name of one of Python's own ({module})")
    for path in sorted((environment / "share/jupyter/kernels").glob("*/kernel.json")):
        if who(path) != "ipykernel":
            found.append(f"{who(path)} brings a kernel of its own ({path.parent.name})")
    for path in sorted((environment / "etc/ipython").rglob("*")):
        if path.is_file():
            found.append(f"{who(path)} brings settings of IPython, which every kernel reads ({path.name})")
    return sorted({*found, *_double(environment, base, whose)})


def _first(path: Path) -> Path:
    """A file by which a module's owner is known."""
    if not path.is_dir():
        return path
    start = path / "__init__.py"
    return start if start.exists() else next((one for one in sorted(path.rglob("*")) if one.is_file()), path)


def _module_of(path: Path) -> str:
    """The module that something directly in site-packages is; "" for what cannot be imported."""
    if path.is_dir():
        return path.name if path.name.isidentifier() and path.name != "__pycache__" else ""
    match = _MODULE.fullmatch(path.name)
    return match[1] if match else ""


def _double(environment: Path, base: Path, whose: Mapping[str, Sequence[str]]) -> list[str]:
    """Modules and files that more than one package brings: which of them is there is a matter of chance."""
    inside = str(base.relative_to(environment)) + "/"
    modules: dict[str, list[str]] = {}
    files: dict[tuple[str, ...], list[str]] = {}
    for path, names in whose.items():
        name = path.removeprefix(inside)
        several = tuple(dict.fromkeys(names))
        if path.startswith(inside) and (module := _root_of(name)):
            modules.setdefault(module, []).extend(several)
        elif len(several) > 1 and (name.endswith((".py", ".so", ".pth", "kernel.json")) or path.startswith("bin/")):
            files.setdefault(several, []).append(name)
    found = []
    for module, names in modules.items():
        first, *others = dict.fromkeys(names)
        found += [f"{other} brings the module {module}, and so does {first}" for other in others]
    for several, paths in files.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        found.append(f"{' and '.join(several)} bring the same file ({min(paths)}{more})")
    return found


def _root_of(name: str) -> str:
    """The module that a file below site-packages makes importable; "" for a file further inside, or none."""
    match = _MODULE.fullmatch(name.removesuffix("/__init__.py") + ".py" if name.endswith("/__init__.py") else name)
    return match[1] if match else ""
