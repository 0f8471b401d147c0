"""Kernels of other languages that packages of the shared environments bring (R's, Octave's): people are offered them
like the environments that they are in.

A package has its kernel.json in ENVIRONMENT/share/jupyter/kernels, where only an environment's own Jupyter looks. Here
each is written into the site's folder, which the Lab and every terminal read. The first environment that has a kernel
gives it its usual name, so that notebooks from elsewhere find it; those of the others carry the environment's name.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manylab.model.resources import Directory, Kernels, KernelSource
from manylab.system.environments import record
from manylab.system.files import make_directory, remove_path, write_bytes

_SPEC = "kernel.json"
# What the Lab shows of a kernel besides; larger ones are no pictures.
_MORE = ("logo-svg.svg", "logo-64x64.png", "logo-32x32.png", "kernel.js", "kernel.css")
_MOST = 2 * 1024 * 1024
# That of the environment itself, which the site has a spec of its own for.
_PYTHON = "python3"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def observe(want: Kernels) -> Kernels:
    """`want`, and which of its kernels are not on disk as they should be.

    While an environment has yet to be built nothing can be said, and nothing differs.
    """
    if not all((source.path / record.MARKER).exists() for source in want.sources):
        return want
    wanted, there = files(want), _ours(want.folder)
    differ = [name for name, content in wanted.items() if name not in there or _content(want.folder / name) != content]
    return Kernels(want.folder, want.sources, tuple(sorted({*differ, *(there - wanted.keys())})))


def write(want: Kernels) -> None:
    """Write those that should be there, and remove those of ours that should not."""
    wanted = files(want)
    for name in _ours(want.folder) - wanted.keys():
        remove_path(want.folder / name)
    for name, content in wanted.items():
        folder = want.folder / name
        make_directory(Directory(folder))
        for file in _content(folder).keys() - content.keys():
            remove_path(folder / file)
        # The spec last: without it there is no kernel yet.
        for file, data in sorted(content.items(), key=lambda item: item[0] == _SPEC):
            write_bytes(folder / file, data, 0o644)


def files(want: Kernels) -> dict[str, dict[str, bytes]]:
    """What should be in the folder of each kernel, by the name of the kernel."""
    found = [(source, name, spec, folder) for source in want.sources for name, spec, folder in _brought(source)]
    made: dict[str, dict[str, bytes]] = {}
    for source, name, spec, folder in found:
        several = sum(1 for other in found if other[1] == name) > 1
        chosen = name if name not in made else f"{name}-{source.name}"
        text = json.dumps(offered(spec, source, name, folder, several=several), indent=1) + "\n"
        made[chosen] = {file: data for file in _MORE if (data := _read(folder / file))} | {_SPEC: text.encode()}
    return made


def offered(spec: dict[str, Any], source: KernelSource, name: str, folder: Path, *, several: bool) -> dict[str, Any]:
    """A package's spec as it is offered: it starts with the environment's program of that name and its variables."""
    argv = [word.replace("{prefix}", str(source.path)).replace("{resource_dir}", str(folder)) for word in spec["argv"]]
    if "/" not in argv[0] and os.access(source.path / "bin" / argv[0], os.X_OK):
        argv[0] = str(source.path / "bin" / argv[0])
    title = str(spec.get("display_name") or name)
    metadata, variables = spec.get("metadata"), spec.get("env")
    said = {"environment": source.name, "kernel": name, "groups": list(source.groups)}
    return {
        **spec,
        "argv": argv,
        "display_name": f"{title} ({source.name})" if several else title,
        "env": {**dict(source.variables), **(variables if isinstance(variables, dict) else {})},
        "metadata": {**(metadata if isinstance(metadata, dict) else {}), "manylab": said},
    }


def _brought(source: KernelSource) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """Name, spec and folder of each kernel in an environment but its Python's."""
    for folder in sorted((source.path / "share/jupyter/kernels").glob("*")):
        name = folder.name.lower()
        spec = _spec(folder)
        if spec and _NAME.fullmatch(name) and name != _PYTHON and not name.startswith("manylab-"):
            yield name, spec, folder


def _spec(folder: Path) -> dict[str, Any]:
    """A kernel.json with a command; {} for anything else: what a package writes there is not ours."""
    try:
        spec = json.loads(_read(folder / _SPEC))
    except (ValueError, RecursionError):
        return {}
    argv = spec.get("argv") if isinstance(spec, dict) else None
    return spec if isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv) else {}


def _ours(folder: Path) -> set[str]:
    """The kernels in the site's folder that were written by this module."""
    return {path.name for path in folder.glob("*") if "kernel" in _said(_spec(path))}


def _said(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = spec.get("metadata")
    said = metadata.get("manylab") if isinstance(metadata, dict) else None
    return said if isinstance(said, dict) else {}


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: _read(path) for path in folder.glob("*")}


def _read(path: Path) -> bytes:
    """A plain file of a sensible size; b"" for anything else, and for what a link leads to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        return file.read(_MOST) if stat.S_ISREG(status.st_mode) and status.st_size <= _MOST else b""
