"""A site's side of a conda channel for the tests of the conda backend: a cache, uv, and what was said."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manylab.base.errors import EnvironmentFailed
from manylab.system.conda import backend
from manylab.system.environments import uv_program
from manylab.system.environments.installers import Watch


@dataclass
class CondaSite:
    """Solves and builds as the site would, and remembers what was said to the person who waits."""

    folder: Path
    channels: tuple[str, ...]
    mirrors: Mapping[str, str] = field(default_factory=dict)
    pip: Sequence[str] = ()
    silence: float = 60.0
    patience: float = 120.0
    said: list[str] = field(default_factory=list)
    uv_asked: list[Sequence[str]] = field(default_factory=list)

    @property
    def site(self) -> backend.Site:
        """With an empty network: no proxy and no setting of whoever runs the tests."""
        return backend.Site(
            self.folder / "cache", {}, self.mirrors, self._uv, self.silence, lambda: Watch(self.folder, self.patience)
        )

    def _uv(self, arguments: Sequence[str]) -> None:
        self.uv_asked.append(arguments)
        argv = [uv_program(), *arguments, "--no-config", "--offline", *self.pip, "--cache-dir", str(self.folder / "uv")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EnvironmentFailed(done.stderr)

    def solve(
        self, *packages: str, prefer: str = "", python: str = "", pip: tuple[str, ...] = (), upgrade: Sequence[str] = ()
    ) -> str:
        """The lock for these packages."""
        wanted = backend.Wanted(self.channels, packages, python, pip)
        return backend.solve(wanted, prefer=prefer, upgrade=upgrade, site=self.site, say=self.said.append)

    def build(self, lock: str, name: str = "env") -> Path:
        """The environment of a lock, in a folder of that name."""
        prefix = self.folder / name
        backend.build(lock, prefix, site=self.site, say=self.said.append)
        return prefix

    def fetch(self, lock: str) -> list[Path]:
        """The archives of a lock, in the cache."""
        return backend.fetch(lock, site=self.site, say=self.said.append)

    @property
    def archives(self) -> list[Path]:
        """Every file in the cache of archives, whatever its name."""
        return [path for path in (self.folder / "cache/conda/archives").rglob("*") if path.is_file()]


def python_says(prefix: Path, code: str) -> str:
    """What the environment's interpreter prints."""
    done = subprocess.run([prefix / "bin/python", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip()


def versions(lock: str) -> dict[str, str]:
    """name -> version and build, as the lock has it."""
    return {one.name: f"{one.version} {one.build}" for one in backend.parse(lock).packages}


def wheel(folder: Path, name: str, version: str, *, requires: tuple[str, ...] = (), code: str = "") -> Path:
    """A wheel of one module, for the pip part of an environment."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code or f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return path
