"""A tree of control groups, version 2, made of ordinary files: what the kernel does with them, as far as we rely on it.

For machines whose own tree is of version 1. Rules from cgroups(7) and Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
from pathlib import Path

import pytest

FILES = {"memory": ("memory.max",), "cpu": ("cpu.max", "cpu.weight"), "pids": ("pids.max",)}
ALWAYS = ("cgroup.procs", "cgroup.controllers", "cgroup.subtree_control", "cgroup.kill")


class FakeTree:
    """`root` is the mounted folder. real_root: the machine's own top group, which alone may have processes and
    children with controllers at once."""

    def __init__(self, root: Path, controllers: str, *, real_root: bool = True, patch: pytest.MonkeyPatch) -> None:
        self.root, self.real_root = root, real_root
        self._mkdir, self._rmdir = pathlib.Path.mkdir, pathlib.Path.rmdir
        root.mkdir()
        for name in ALWAYS:
            (root / name).write_text("")
        (root / "cgroup.controllers").write_text(controllers)
        tree = self

        def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            there = path.exists()
            tree._mkdir(path, mode, parents, exist_ok)
            if path.is_relative_to(root) and not there:
                tree.fill(path)

        def rmdir(path: Path) -> None:
            if not path.is_relative_to(root):
                tree._rmdir(path)
            elif not path.exists():
                raise FileNotFoundError(errno.ENOENT, "", str(path))
            elif any(child.is_dir() for child in path.iterdir()) or (path / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, "", str(path))
            else:
                shutil.rmtree(path)

        patch.setattr(pathlib.Path, "mkdir", mkdir)
        patch.setattr(pathlib.Path, "rmdir", rmdir)

    def fill(self, folder: Path) -> None:
        """The files of a group: those of its parent's subtree_control, and those that are always there."""
        passed = (folder.parent / "cgroup.subtree_control").read_text().split()
        for name in (*ALWAYS, *(file for one in passed for file in FILES[one])):
            if not (folder / name).exists():
                (folder / name).write_text("")
        (folder / "cgroup.controllers").write_text(" ".join(passed))

    def write(self, file: Path, text: str) -> None:
        """What `hierarchies.write` is in a test."""
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, "", str(file))
        folder = file.parent
        if file.name == "cgroup.subtree_control":
            if text[1:] not in (folder / "cgroup.controllers").read_text().split():
                raise OSError(errno.ENOENT, "no such controller")
            top = folder == self.root and self.real_root
            if not top and (folder / "cgroup.procs").read_text():
                raise OSError(errno.EBUSY, "internal processes")
            file.write_text(" ".join(sorted({*file.read_text().split(), text[1:]})))
            for child in folder.iterdir():
                if child.is_dir():
                    self.fill(child)
        elif file.name == "cgroup.procs":
            if (folder / "cgroup.subtree_control").read_text():
                raise OSError(errno.EBUSY, "has children with controllers")
            for path in self.root.rglob("cgroup.procs"):
                left = [pid for pid in path.read_text().split() if pid != text]
                path.write_text("\n".join(left))
            file.write_text("\n".join([*file.read_text().split(), text]))
        elif file.name == "cgroup.kill":
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), 9)
        else:
            file.write_text(text + "\n")
