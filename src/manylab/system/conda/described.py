"""An interpreter as uv wants to know it, described instead of asked.

uv runs the interpreter that it installs for. conda's Python is a package like any other, and so are the .pth files
beside it: as root neither is run. What uv runs instead is a script that has the Python which runs this program answer,
and puts the environment's folders and version into the answer.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from manylab.base.errors import EnvironmentFailed
from manylab.system.files import write_file

_SCRIPT = """#!{ours} -IS
import json, subprocess, sys

done = subprocess.run([{ours!r}, "-S", *sys.argv[1:]], stdout=subprocess.PIPE, check=False)
try:
    said = json.loads(done.stdout)
except ValueError:
    sys.stdout.buffer.write(done.stdout)
    sys.exit(done.returncode or 1)
if said.get("result") == "success":
    said["markers"].update({markers!r})
    said.update({facts!r})
print(json.dumps(said))
"""
_VERSION = re.compile(r"(\d+)\.(\d+)\.\d+")


def interpreter(folder: Path, prefix: Path, version: str) -> Path:
    """A program for uv's --python that stands for the Python of the environment `prefix`.

    folder: where it is written, and where nobody else may write. version: as the lock has it, "3.12.4". Raises
    EnvironmentFailed for a Python that wheels are not made for.
    """
    found = _VERSION.match(version)
    library = _library(prefix)
    if found is None or library is None or not library.startswith(f"python{found[1]}.{found[2]}"):
        raise EnvironmentFailed(
            f"the environment's Python {version} is not where CPython's is",
            hint="leave the pip part out, or take the package python of another channel",
        )
    full = found[0]
    minor = f"{found[1]}.{found[2]}"
    packages = str(prefix / "lib" / library / "site-packages")
    program = str(prefix / "bin/python")
    short = library.removeprefix("python").replace(".", "")
    markers = {
        "implementation_name": "cpython",
        "implementation_version": full,
        "platform_python_implementation": "CPython",
        "python_full_version": full,
        "python_version": minor,
    }
    facts = {
        **dict.fromkeys(("sys_prefix", "sys_base_prefix", "sys_base_exec_prefix"), str(prefix)),
        **dict.fromkeys(("sys_executable", "sys_base_executable"), program),
        "sys_path": [str(prefix / "lib" / library), packages],
        "site_packages": [packages],
        "stdlib": str(prefix / "lib" / library),
        "standalone": False,
        "gil_disabled": library.endswith("t"),
        "debug_enabled": False,
        "extension_suffixes": [f".cpython-{short}-{os.uname().machine}-linux-gnu.so", ".abi3.so", ".so"],
        "scheme": {
            "platlib": packages,
            "purelib": packages,
            "include": str(prefix / "include" / library),
            "scripts": str(prefix / "bin"),
            "data": str(prefix),
        },
    }
    path = folder / "python"
    write_file(path, _SCRIPT.format(ours=sys.executable, markers=markers, facts=facts), 0o700)
    return path


def _library(prefix: Path) -> str | None:
    """The name of the folder with Python's own modules, "python3.12" or "python3.13t"."""
    # conda has a link lib/python3.1 as well.
    folders = (path.parent for path in sorted((prefix / "lib").glob("python3.*/site-packages")))
    return next((folder.name for folder in folders if not folder.is_symlink()), None)
