"""Environments of a test's own wheels, built by the product itself."""

from __future__ import annotations

import sys
from pathlib import Path

from manylab.model.resources import Asked, Environment
from manylab.system.environments import making, record, share
from support.wheels import index, lock


class Builder:
    """Builds in `folder`, from wheels in `folder`/wheels; nothing is downloaded. `said`: lines of progress."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.cache = folder / "cache"
        self.envs = folder / "envs"
        self.said: list[str] = []
        self.network = {"UV_DEFAULT_INDEX": (folder / "index").as_uri()}

    def wanted(self, digest: str, *wheels: Path, name: str = "course") -> Environment:
        """An environment of exactly these wheels."""
        index(self.folder / "index", self.wheels)
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        names = tuple(path.name.split("-")[0] for path in wheels)
        base = str(Path(sys.base_prefix) / "bin/python3")
        asked = Asked(names, ">=3.10", "uv")
        path = self.envs / name / digest
        return Environment(name, path, digest, base, minor, lock(*wheels), requirements=names, asked=asked)

    def build(self, want: Environment) -> Environment:
        """All of it, with the trial."""
        making.build(want, cache=self.cache, network=self.network, say=self.said.append, builder="nobody")
        return want

    def install(self, want: Environment) -> Environment:
        """All of it without the trial, whose kernel needs ipykernel."""
        want.path.parent.mkdir(parents=True, exist_ok=True)
        making._install(want, self.cache, self.network, self.said.append)
        share.link_same(want.path, share.earlier(want.path, want.python_minor))
        share.compile_new(record.site_packages(want.path), want.python)
        share.open_to_all(want.path)
        data = None if want.asked is None else want.asked.as_data()
        record.write(want, when=1.0, asked=data, summary="made by a test", size=share.size(want.path))
        return want
