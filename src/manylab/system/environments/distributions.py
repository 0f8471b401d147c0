"""The packages that are installed in an environment, read from their own records; nothing of them is run."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path, PurePosixPath

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from manylab.system.environments.record import site_packages

_MODULE = re.compile(r"([^\W\d]\w*)(?:\.(?:cpython|abi3|cp)[\w-]*)?\.(?:py|so)")
# Folders that wheels bring by mistake; nobody imports them.
_BY_MISTAKE = frozenset(
    (
        "test",
        "tests",
        "testing",
        "doc",
        "docs",
        "example",
        "examples",
        "bench",
        "benchmarks",
        "scripts",
        "tools",
        "setup",
    )
)


@dataclass(frozen=True)
class Distribution:
    """One installed package. name: as PEP 503 has it. files: paths relative to site-packages."""

    name: str
    version: str
    folder: Path

    @cached_property
    def files(self) -> tuple[str, ...]:
        """What its RECORD lists."""
        try:
            with (self.folder / "RECORD").open(encoding="utf-8", newline="") as handle:
                return tuple(row[0] for row in csv.reader(handle) if row)
        except (OSError, UnicodeDecodeError, csv.Error):
            return ()

    @cached_property
    def size(self) -> int:
        """Bytes of its files, byte code left out."""
        total = 0
        try:
            with (self.folder / "RECORD").open(encoding="utf-8", newline="") as handle:
                total = sum(int(row[2]) for row in csv.reader(handle) if len(row) > 2 and row[2].isdigit())
        except (OSError, UnicodeDecodeError, csv.Error):
            pass
        return total

    @cached_property
    def metadata(self) -> Mapping[str, Sequence[str]]:
        """Headers of METADATA, lower case, each with all its values."""
        found: dict[str, list[str]] = {}
        try:
            text = (self.folder / "METADATA").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return found
        for key, value in HeaderParser().parsestr(text).items():
            found.setdefault(key.lower(), []).append(str(value))
        return found

    @cached_property
    def top_level(self) -> frozenset[str]:
        """Names of the modules and packages that it puts directly into site-packages."""
        return frozenset(module.split(".")[0] for module in self._modules())

    @property
    def imports(self) -> tuple[str, ...]:
        """What has to be importable for it to be of use; () for one that has only programs or data."""
        found = self._modules()
        if (own := self.name.replace("-", "_")) in found:
            return (own,)  # others beside it may need what was not asked for: black's blackd
        public = [name for name in found if not name.startswith("_") and name.split(".")[0] not in _BY_MISTAKE]
        return tuple(sorted(public or [name for name in found if name.split(".")[0] not in _BY_MISTAKE]))

    def _modules(self) -> set[str]:
        """Its outermost modules: `numpy`, and `google.cloud.storage` of a namespace package."""
        packages = {PurePosixPath(path).parent for path in self.files if path.endswith("/__init__.py")}
        found = set()
        for path in map(PurePosixPath, self.files):
            if len(path.parts) == 1 and (match := _MODULE.fullmatch(path.name)):
                found.add(match[1])
        for folder in packages:
            outer = any(parent in packages for parent in folder.parents)
            if not outer and all(part.isidentifier() for part in folder.parts):
                found.add(".".join(folder.parts))
        return found


def installed(environment: Path) -> dict[str, Distribution]:
    """All packages of an environment, by name."""
    found: dict[str, Distribution] = {}
    for folder in sorted(site_packages(environment).glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        if name != "manylab":
            found[canonicalize_name(name)] = Distribution(canonicalize_name(name), version, folder)
    return found


def conflicts(packages: Mapping[str, Distribution], python: str) -> list[str]:
    """What packages ask for and do not have, as `pip check` says it. python: full version, "3.11.2"."""
    environment = {k: str(v) for k, v in default_environment().items()}
    environment |= {"python_full_version": python, "python_version": ".".join(python.split(".")[:2]), "extra": ""}
    found = []
    for package in packages.values():
        for text in package.metadata.get("requires-python", ()):
            if not _fits(text, python):
                found.append(f"{package.name} {package.version} needs Python {text}, and this is {python}")
        for text in package.metadata.get("requires-dist", ()):
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                continue
            if wanted.marker is not None and not wanted.marker.evaluate(environment):
                continue
            have = packages.get(canonicalize_name(wanted.name))
            if have is None:
                found.append(f"{package.name} {package.version} needs {wanted.name}, which is not there")
            elif not _fits(str(wanted.specifier), have.version):
                needs = f"{wanted.name}{wanted.specifier}"
                found.append(f"{package.name} {package.version} needs {needs}, and there is {have.version}")
    return found


def _fits(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True
