"""The folders and log files that root makes for a server. Nothing here follows a link that somebody else could make.

Root touches `servers/NAME` only, whose parent is root's. What is below belongs to the person, who may plant links
there at any moment; it is therefore made by `child`, as the person, and gets the web's group by the setgid bit.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import stat
import subprocess
import threading
from pathlib import Path
from typing import Final

from manylab.base import logs, names
from manylab.base.layout import private_record
from manylab.warden import accounts, processes
from manylab.warden.accounts import Person
from manylab.warden.messages import Refusal
from manylab.warden.settings import Settings
from manylab.warm.apart import PRIVATE

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOG_LIMIT: Final = 10 * 1024 * 1024  # bytes
_GONE: Final = ".gone-"  # how the name begins of what is being removed
_ONE_AT_A_TIME: Final = threading.Lock()  # a person may start several servers at once


def own(path: Path, mode: int) -> None:
    """A folder of the warden's own account that nobody else can write; made when missing. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode, parents=True)
        path.chmod(mode)  # whatever the umask is
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder that only uid {os.geteuid()} writes")


def for_person(settings: Settings, person: Person) -> Path:
    """`servers/NAME`, owner the person, group the web's, mode 02710: nobody else can enter. Raises Refusal, OSError."""
    own(settings.servers, 0o711)
    name = names.folder(person.name)
    path = settings.servers / name
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            path.unlink()
        elif found.st_uid not in (person.uid, os.geteuid()):
            remove_trees(str(path))  # left by an account of this name that is no more
    parent = os.open(settings.servers, _FOLDER)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        if os.geteuid() == 0:
            group = person.gid if settings.web_group is None else accounts.group_id(settings.web_group)
            os.fchown(folder, person.uid, group)
        elif os.geteuid() != person.uid:
            raise Refusal("start-failed", "without root the warden can start only its own account's server")
        os.fchmod(folder, 0o2710)
    finally:
        os.close(folder)
    return path


def close(folder: Path) -> None:
    """Nobody but root can enter or write from now on; a start opens it again. Raises OSError."""
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fchown(descriptor, os.geteuid(), -1)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def private_root(private: Path) -> Path:
    """The folder of everybody's own /tmp, a new one for each boot, as /tmp is emptied then. Raises OSError.

    Only root and the nursery's group can pass.
    """
    found = private.lstat()  # made by `apply`
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o027:
        raise PermissionError(f"{private} is not a folder that only uid {os.geteuid()} writes and few can enter")
    boot = processes.boot_id()
    root = private / boot
    if not root.exists():
        root.mkdir(mode=0o700)
        os.chown(root, -1, found.st_gid)
        root.chmod(0o710)
    return root


def empty_private(private: Path) -> None:
    """Remove what was in people's /tmp before this boot. Nobody waits for it: it may be millions of files."""
    root = private_root(private)
    old = [str(path) for path in (*private.iterdir(), *root.glob(f"{_GONE}*")) if path != root]
    threading.Thread(target=remove_trees, args=old, daemon=True).start()


def remove_trees(*paths: str) -> None:
    """What people have filled. Not shutil.rmtree, which before Python 3.13 gives up on folders a thousand deep.

    rm(1) follows no links, and no folder above is theirs. What it cannot remove it says in the log.
    """
    if paths:
        subprocess.run(["rm", "-rf", "--", *paths], stdin=subprocess.DEVNULL, stdout=2, check=False)


def private_for(private: Path, person: Person) -> Path:
    """The person's own /tmp and its like, made when missing. Raises OSError.

    What an account had there that is gone, nobody gets who is given its name or its number.
    """
    root = private_root(private)
    folder, record = root / str(person.uid), root / private_record(person.uid)
    with _ONE_AT_A_TIME:
        name = made_for(record)
        if name is not None and name != person.name and not _has_uid(name, person.uid):
            with contextlib.suppress(FileNotFoundError):
                gone = folder.rename(root / f"{_GONE}{person.uid}-{secrets.token_hex(8)}")
                threading.Thread(target=remove_trees, args=[str(gone)], daemon=True).start()
            record.unlink()
            name = None
        if name is None:  # also where a version of manylab made the folder that did not write it down
            record.symlink_to(person.name)
        return private_parts(folder)


def made_for(record: Path) -> str | None:
    """The account of a private folder. A link is made in one step, so it is never there in part."""
    try:
        return str(record.readlink())
    except FileNotFoundError:
        return None


def _has_uid(name: str, uid: int) -> bool:
    """Whether there is an account of that name and number: two names of one account are one person."""
    try:
        return pwd.getpwnam(name).pw_uid == uid
    except KeyError:
        return False


def private_parts(folder: Path) -> Path:
    """`folder` with a part for each of apart.PRIVATE, open to all as /tmp is: whoever is in it is the person."""
    group = folder.parent.stat().st_gid
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, -1, group)
        folder.chmod(0o710)
    for _, name in PRIVATE:
        part = folder / name
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=0o700)
            part.chmod(0o1777)
    return folder


def open_log(folder: Path, name: str) -> int:
    """`server-NAME.log` of an account, open for appending; the caller closes it. Raises OSError."""
    own(folder, 0o755)
    path = folder / f"server-{names.folder(name)}.log"
    trim_log(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PermissionError(f"{path} is not a file")
    os.set_blocking(descriptor, True)
    return descriptor


def trim_log(path: Path) -> None:
    """Keep a log near 10 MB: what it ended with goes to `.1`."""
    with contextlib.suppress(OSError):
        logs.keep_end(path, _LOG_LIMIT)


def trim_logs(folder: Path) -> None:
    """All of them, also of servers that have ended: what they were given to write may be in other hands. Blocks."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            ours = entry.name.startswith("server-") and entry.name.endswith(".log")
            if ours and entry.stat(follow_symlinks=False).st_size > _LOG_LIMIT:
                trim_log(folder / entry.name)
