"""A copy of a shared environment that belongs to the person who makes it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from manylab.base.errors import CommandFailed, Refused
from manylab.model.environments import KERNEL
from manylab.system.environments import record
from manylab.system.environments.installers import BUILD_TIMEOUT, Say, disk_full, is_disk_full
from manylab.system.files import write_file
from manylab.system.run import run

# A script is a text of a few lines; what is larger is a program.
_SCRIPT = 1 << 20
# The kernel of the machine reads no more of a script's first line (BINPRM_BUF_SIZE of older ones).
_LINE = 127


def copy(source: Path, target: Path, kernels: Path, variables: Mapping[str, str], say: Say) -> Path:
    """Copy the environment `source` to the new folder `target`, with a kernel of its own in `kernels` that has these
    variables; the kernel's folder is returned.

    The kernel of the machine forbids hard links to files of root's (fs.protected_hardlinks), so blocks are shared where
    the file system can (btrfs, XFS), and copied elsewhere. Raises Refused for what is there already, DiskFull.
    """
    kernel = kernels / target.name
    for path in (target, kernel):
        if path.exists() or path.is_symlink():
            raise Refused(f"{path} is there already", hint="choose another name, or remove it yourself first")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.manylab-part")
    shutil.rmtree(part, ignore_errors=True)
    say(f"copying {source}")
    try:
        # In C: an environment has tens of thousands of files.
        words = ["cp", "-a", "--reflink=auto", "--no-preserve=ownership", "--", str(source), str(part)]
        run(words, timeout=BUILD_TIMEOUT, ends_with_us=True)
        for name in (record.MARKER, record.LOCK):
            (part / name).unlink(missing_ok=True)
        for path in (*(part / "bin").iterdir(), *part.glob("share/jupyter/kernels/*/kernel.json")):
            _moved(path, str(source), str(target))
        part.rename(target)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, CommandFailed) and is_disk_full(error.message):
            raise disk_full(f"no room for a copy of {source}") from error
        raise
    spec = {
        "argv": [f"{target}/bin/python", *KERNEL],
        "display_name": f"{target.name} (Python, own)",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {
            **{name: text.replace("$", "$$") for name, text in variables.items()},
            "PATH": f"{target}/bin:${{PATH}}",
        },
    }
    kernel.mkdir(parents=True)
    write_file(kernel / "kernel.json", json.dumps(spec, indent=1) + "\n", 0o644)
    for logo in source.glob("share/jupyter/kernels/python3/logo-*"):
        with contextlib.suppress(OSError):
            shutil.copyfile(logo, kernel / logo.name)
    return kernel


def _moved(path: Path, old: str, new: str) -> None:
    """Write a script's own folder anew where it stands in it."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _SCRIPT:
        return
    content = path.read_bytes()
    if b"\0" in content or os.fsencode(old) not in content:
        return
    content = content.replace(os.fsencode(old), os.fsencode(new))
    first, _, rest = content.partition(b"\n")
    if first.startswith(b"#!") and (len(first) > _LINE or b" " in os.fsencode(new)):
        # As pip and uv write it: a shell script whose second line Python takes for a string.
        program = first[2:].strip()
        content = b"#!/bin/sh\n'''exec' \"" + program + b'" "$0" "$@"\n\' \'\'\'\n' + rest
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode & 0o777)
