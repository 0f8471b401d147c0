"""Files, folders and links: observed, and changed in one rename so that a crash leaves the old or the new,
never a half.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from manylab.base.errors import DiskFull
from manylab.model.resources import Copy, Directory, File, Line, Link, Secret

_COPY_MODE = 0o644
_SCRATCH = "tmp"


def owner_name(uid: int) -> str:
    """The account's name, or its number as text when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The group's name, or its number as text when it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _ids(owner: str, group: str) -> tuple[int, int]:
    uid = pwd.getpwnam(owner).pw_uid if owner else -1
    gid = grp.getgrnam(group).gr_gid if group else -1
    return uid, gid


@contextlib.contextmanager
def _parent(path: Path) -> Iterator[int]:
    """A descriptor of the folder that holds `path`; a folder that is itself a link is refused (its owner may be
    anybody).
    """
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def observe_file(path: Path) -> File | Link | Directory | None:
    """What is at `path` now, or None."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return Link(path, str(path.readlink()))
    mode = stat.S_IMODE(status.st_mode)
    owner, group = owner_name(status.st_uid), group_name(status.st_gid)
    if not stat.S_ISREG(status.st_mode):
        return Directory(path, mode, owner, group)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        content = handle.read().decode("utf-8", errors="replace")
    return File(path, content, mode, owner, group)


def observe_directory(want: Directory) -> File | Link | Directory | None:
    """What is there in the place of a folder, with whether its contents are its owner's, if that matters."""
    have = observe_file(want.path)
    if isinstance(have, Directory) and want.contents and have.owner == want.owner:
        uid, _ = _ids(want.owner, "")
        return replace(have, contents=all(_belongs(item, uid) for item in want.path.iterdir()))
    return have


def _belongs(path: Path, uid: int) -> bool:
    try:
        return path.lstat().st_uid == uid
    except FileNotFoundError:  # a database's journal comes and goes
        return True


@contextlib.contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """A folder that is gone at the end; what a run that was killed leaves, the next one sweeps (`sweep_scratch`)."""
    (cache / _SCRATCH).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache / _SCRATCH) as folder:
        yield Path(folder)


def sweep_scratch(cache: Path) -> None:
    """Remove what is left of such folders. The caller holds the site's lock."""
    shutil.rmtree(cache / _SCRATCH, ignore_errors=True)


def write_file(path: Path, content: str, mode: int, owner: str = "", group: str = "", *, synced: bool = True) -> None:
    """Put `content` at `path` in one rename. Raises DiskFull, or OSError for what is wrong with the folder.

    synced: it is on the disk when this returns; without it, when `sync_files` was called.
    """
    write_bytes(path, content.encode("utf-8"), mode, owner, group, synced=synced)


def write_bytes(
    path: Path, content: bytes, mode: int, owner: str = "", group: str = "", *, synced: bool = True
) -> None:
    """`write_file` for what is no text."""
    uid, gid = _ids(owner, group)
    if not path.parent.exists():  # a bare Debian 13 has no /etc/init.d
        make_directory(Directory(path.parent))
    temporary = f".{path.name}.manylab-new"
    with _parent(path) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as handle:
                    handle.write(content)
                    handle.flush()
                    if (uid, gid) != (-1, -1):
                        os.fchown(handle.fileno(), uid, gid)
                    os.fchmod(handle.fileno(), mode)
                    if synced:
                        os.fsync(handle.fileno())
                os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
        except OSError as error:
            if error.errno == 28:  # ENOSPC
                raise DiskFull(f"no space is left for {path}", hint="free some space, then run it again") from error
            raise


def sync_files(folder: Path) -> None:
    """Have all files below the folder on the disk: the first takes the others along, where one at a time each waits."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())


def set_ownership(path: Path, mode: int, owner: str, group: str) -> None:
    """Give an existing file or folder its owner, group and mode; links are not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        uid, gid = _ids(owner, group)
        if (uid, gid) != (-1, -1):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def make_directory(want: Directory) -> None:
    """Make a folder (and, as plain 0755 folders, what is missing above it), or mend its mode and owner."""
    if not want.path.parent.is_dir():
        make_directory(Directory(want.path.parent))
    if not want.path.is_dir() or want.path.is_symlink():
        want.path.mkdir(mode=0o700)
    set_ownership(want.path, want.mode, want.owner, want.group)
    if want.contents:
        give_contents(want.path, want.owner, want.group)


def give_contents(folder: Path, owner: str, group: str) -> None:
    """Make the files directly in a folder belong to an account. Files with a second name elsewhere are left alone."""
    uid, gid = _ids(owner, group)
    with _parent(folder / "any") as descriptor:
        for name in os.listdir(descriptor):  # noqa: PTH208 (a descriptor: the folder may not be exchanged meanwhile)
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            # A hard link to somebody else's file would hand that file over.
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != uid:
                os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


def make_link(want: Link) -> None:
    """Point a link at its target in one rename."""
    if not want.path.parent.exists():  # a bare machine has no /usr/local/share/fonts
        make_directory(Directory(want.path.parent))
    temporary = f".{want.path.name}.manylab-new"
    with _parent(want.path) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        os.symlink(want.target, temporary, dir_fd=folder)
        os.rename(temporary, want.path.name, src_dir_fd=folder, dst_dir_fd=folder)


def observe_copy(want: Copy) -> File | Link | Directory | None:
    """`want` where the file has the content that it should have, or there is nothing to copy."""
    try:
        content = Path(want.target).read_bytes()
    except OSError:
        return want
    if want.path.is_symlink() or not want.path.is_file():
        return Link(want.path, "") if os.path.lexists(want.path) and not want.path.is_dir() else observe_file(want.path)
    same = want.path.read_bytes() == content and stat.S_IMODE(want.path.stat().st_mode) == _COPY_MODE
    return want if same else Link(want.path, "")


def make_copy(want: Copy) -> None:
    """Make the file in one rename, for everybody to read."""
    temporary = want.path.with_name(f".{want.path.name}.manylab-new")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(Path(want.target).read_bytes())
    temporary.chmod(_COPY_MODE)
    temporary.replace(want.path)


def observe_line(want: Line) -> Line:
    """`want` where the line is there, or the file is not."""
    there = not want.path.is_file() or want.line.encode() in want.path.read_bytes().split(b"\n")
    return want if there else Line(want.path, "")


def add_line(want: Line) -> None:
    """Add it at the end of the file."""
    # Bytes: the rest of the file is somebody else's, in whatever encoding.
    text = want.path.read_bytes()
    before = text if not text or text.endswith(b"\n") else text + b"\n"
    write_bytes(want.path, before + want.line.encode() + b"\n", stat.S_IMODE(want.path.stat().st_mode))


def remove_line(of: Line) -> bool:
    """Take it out again; whether it was there."""
    if not of.path.is_file() or observe_line(of) != of:
        return False
    lines = of.path.read_bytes().split(b"\n")
    kept = b"\n".join(line for line in lines if line != of.line.encode())
    write_bytes(of.path, kept, stat.S_IMODE(of.path.stat().st_mode))
    return True


def everybody_can_read(path: Path) -> bool:
    """Whether it is a file that any account can read, as the modes of it and of the folders above say."""
    try:
        status = path.stat()
        above = [folder.stat().st_mode for folder in path.resolve().parents]
    except OSError:
        return False
    readable = stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH
    return bool(readable and all(mode & stat.S_IXOTH for mode in above))


def others_can_write(path: Path) -> Path | None:
    """The first part of a path that others than root (and whoever runs this) could change; None when there is none.

    Of a link, what it leads to counts as well. What is not there, they cannot make either.
    """
    target = path.resolve()
    for part in dict.fromkeys((path, *path.parents, target, *target.parents)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = part.lstat()
            writable = not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022
            if status.st_uid not in (0, os.geteuid()) or writable:
                return part
    return None


def remove_path(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it. What is not there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        shutil.rmtree(path)


def observe_secret(want: Secret) -> Secret | None:
    """`want` itself when every copy is in order; a Secret without copies when one is not; None when none exists."""
    value = _secret_value(want)
    if value is None:
        return None
    for path, owner, group, template in want.copies:
        have = observe_file(path)
        right = (
            isinstance(have, File)
            and have.content == template.format(value)
            and have.mode == 0o600
            and (not owner or have.owner == owner)
            and (not group or have.group == group)
        )
        if not right:
            return Secret(want.name, (), want.nbytes)
    return want


def _secret_value(want: Secret) -> str | None:
    """The value in the original, None when there is none or it is not one (cut short by a full disk, say)."""
    path, _, _, template = want.copies[0]
    have = observe_file(path)
    if not isinstance(have, File):
        return None
    head, _, tail = template.partition("{}")
    value = have.content.removeprefix(head).removesuffix(tail)
    return value if len(value) == 2 * want.nbytes and all(c in "0123456789abcdef" for c in value) else None


def write_secret(want: Secret) -> None:
    """Make the value if there is none, and put every copy in order."""
    value = _secret_value(want) or secrets.token_hex(want.nbytes)
    for path, owner, group, template in want.copies:
        write_file(path, template.format(value), 0o600, owner, group)
