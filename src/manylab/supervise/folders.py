"""Makes the folders that services.json asks for, as root, without following anybody's link to somewhere else."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from pathlib import Path

from manylab.base.errors import Refused
from manylab.supervise.definition import DirectorySpec


def make_folder(spec: DirectorySpec) -> None:
    """Make one folder as it should be, or set right the one that is there.

    Raises Refused when the place is not safe: a parent that somebody else may write, or a link where the folder
    should be; KeyError when the owner or group does not exist.
    """
    path = Path(spec.path)
    uid = -1 if spec.owner is None else pwd.getpwnam(spec.owner).pw_uid
    gid = -1 if spec.group is None else grp.getgrnam(spec.group).gr_gid
    parent = _open_parent(path.parent)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, 0o700, dir_fd=parent)  # closed until it has its owner
        try:
            fd = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            raise Refused(f"{path} is not a folder", hint="remove what is there") from error
    finally:
        os.close(parent)
    try:
        # chown before chmod: chown clears the set-gid bit. An ordinary user cannot give files away and need not.
        if (uid, gid) != (-1, -1) and os.geteuid() == 0:
            os.fchown(fd, uid, gid)
        if stat.S_IMODE(os.fstat(fd).st_mode) != spec.mode:
            os.fchmod(fd, spec.mode)
    finally:
        os.close(fd)


def _open_parent(path: Path) -> int:
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = os.fstat(fd)
    open_to_others = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or open_to_others:
        os.close(fd)
        raise Refused(f"{path} belongs to somebody else", hint=f"give it back: chown root {path}; chmod o-w {path}")
    return fd
