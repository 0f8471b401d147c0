"""Generations share the files that are the same in them, and the byte code of those; only what is new is compiled.

uv links files from its cache, so that a package which two generations have is on the disk once. What was copied
nevertheless (another file system, npm, manylab's own code) is compared with the generations before, byte by byte.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from manylab.base.errors import EnvironmentFailed
from manylab.system.environments import record
from manylab.system.environments.installers import BUILD_TIMEOUT, disk_full, is_disk_full
from manylab.system.run import run

_CHUNK = 1 << 20
# As many generations are looked through, newest first: that of before, and those of other environments.
_MOST = 4
# Words of compileall. Packages' own tests are a third of the scientific set's code, and nobody imports them.
COMPILE = ("-q", "-j", "0", "-x", "/tests/")


def earlier(want: Path, minor: str, beside: Sequence[Path] = ()) -> list[Path]:
    """The generations whose files are looked at for one in the folder `want`, best first.

    Those of the same environment, newest first, then those that other environments use now with the same Python.
    beside: those of others that are being built now.
    """
    own = [one.path for one in reversed(record.generations(want.parent)) if one.path != want]
    others = [_in_use(folder) for folder in sorted(want.parents[1].glob("*")) if folder != want.parent]
    found = [*own[:2], *beside, *(path for path in others if path not in beside and record.read(path) is not None)]
    return [path for path in found if (path / f"lib/python{minor}").is_dir()][:_MOST]


def _in_use(environment: Path) -> Path:
    """The generation of an environment that is in use; at a first `apply` none is yet, and the newest will be."""
    name = record.current(environment)
    found = () if name else record.generations(environment)
    return found[-1].path if found else environment / name


def link_same(folder: Path, before: Sequence[Path]) -> None:
    """Make every file that an earlier generation has with the same content the same file, and take over the byte code
    of sources that are the same file.

    A file is exchanged in one rename. Byte code is only taken for a source that is the same inode: it names its
    source by size and second, which two versions of a small file can have in common.
    """
    # Strings in what is done for each file: there are tens of thousands.
    for directory, names in _files(folder):
        inside = os.path.relpath(directory, folder)
        places = [str(there) for old in before if (there := old / inside).is_dir()]
        shared: dict[str, set[str]] = {place: set() for place in places}
        for name in names if places else ():
            found = next((place for place in places if _become(f"{directory}/{name}", f"{place}/{name}")), None)
            if found is not None and name.endswith(".py"):
                shared[found].add(name.removesuffix(".py"))
        for place, modules in shared.items():
            _take_byte_code(Path(directory, "__pycache__"), Path(place, "__pycache__"), modules)


def _files(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for directory, directories, names in os.walk(folder):
        if "__pycache__" in directories:
            directories.remove("__pycache__")
        yield directory, names


def _become(path: str, old: str) -> bool:
    """Whether `path` is the same file as `old`; if only its content is the same, it becomes it."""
    try:
        there = os.lstat(old)
        here = os.lstat(path)
    except OSError:
        return False
    if not (stat.S_ISREG(here.st_mode) and stat.S_ISREG(there.st_mode)):
        return False
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
        return True
    # An empty file takes no space, and thousands of links to one inode run into the file system's limit.
    same = 0 < here.st_size == there.st_size and here.st_dev == there.st_dev
    same = same and (here.st_mode & 0o111) == (there.st_mode & 0o111) and there.st_uid == here.st_uid
    return same and _same_content(Path(path), Path(old)) and _link(Path(old), Path(path))


def _same_content(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            part = left.read(_CHUNK)
            if part != right.read(_CHUNK):
                return False
            if not part:
                return True


def _link(old: Path, path: Path) -> bool:
    """Put `old` in the place of `path`. False where the file system cannot (EMLINK, EXDEV, EPERM): a copy will do."""
    temporary = path.with_name(f".{path.name}.manylab-new")
    try:
        os.link(old, temporary, follow_symlinks=False)
    except OSError:
        return False
    temporary.replace(path)
    return True


def _take_byte_code(folder: Path, before: Path, modules: set[str]) -> None:
    if not modules or not before.is_dir():
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    with os.scandir(before) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(".pyc") and name.split(".")[0] in modules and name not in there:
                folder.mkdir(exist_ok=True)
                with contextlib.suppress(OSError):  # without it, it is compiled
                    os.link(entry.path, folder / name, follow_symlinks=False)


def compile_new(folder: Path, python: str) -> None:
    """Compile what has no byte code that fits, with the interpreter that the environment is made of.

    Not with the environment's own: that runs the .pth files of packages, and this may be root.
    """
    done = run(
        [python, "-I", "-S", "-m", "compileall", *COMPILE, str(folder)],
        timeout=BUILD_TIMEOUT,
        check=False,
        ends_with_us=True,
    )
    # Files that are no valid Python for this version (templates, tests) are packages' own affair.
    if is_disk_full(done.out + done.err):
        raise disk_full("byte code could not be written")
    if done.status < 0:
        raise EnvironmentFailed(
            f"compiling the packages ended with signal {-done.status}",
            hint="see whether memory is short (free -m), then run it again",
        )


def open_to_all(folder: Path) -> None:
    """Everybody may read and enter, nobody but the owner may write: whatever the umask was when a wheel was packed.

    The folder itself comes last: what anybody could write was never to be reached, if it was closed before.
    """
    for path, status in below(folder):
        _open(path, status)
    _open(str(folder), folder.lstat())


def _open(path: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        return
    mode = stat.S_IMODE(status.st_mode)
    right = (mode | 0o444 | (0o111 if mode & 0o100 or stat.S_ISDIR(status.st_mode) else 0)) & 0o755
    if mode != right:
        Path(path).chmod(right)


def inodes(folder: Path) -> dict[tuple[int, int], int]:
    """The folder and every file and folder below as (device, inode) -> bytes on the disk."""
    found: dict[tuple[int, int], int] = {}
    with contextlib.suppress(FileNotFoundError):
        own = folder.lstat()
        found[own.st_dev, own.st_ino] = own.st_blocks * 512
    for _, status in below(folder):
        found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def size(folder: Path) -> int:
    """Bytes on the disk, files that are shared with others included."""
    return sum(inodes(folder).values())


def below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below, not through links; what is gone meanwhile, or cannot be read, is left out.

    Paths are strings: there are tens of thousands, and a Path takes longer to make than the file to be looked at.
    """
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
                    yield entry.path, status
