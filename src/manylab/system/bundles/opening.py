"""Checks a bundle and unpacks it.

Standard library only, and nothing else of manylab: the launcher runs this by its path, on a machine that has a Python
and no network, before anything is installed.

    python3 -I opening.py FILE PROGRAM LOCKS

unpacks FILE below PROGRAM/cache and prints where. A bundle is a tar of plain files: `manifest.json` first, which names
every other one with its size and sha256; then `manylab/` (the launcher and its code), and what is to be installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

FORMAT = 1
MANIFEST = "manifest.json"
# The launcher and its code, which a person takes out by hand (`tar -xf FILE manylab`).
PROGRAM = "manylab/"
# Below the cache: a folder for each bundle, and the link to the one in use.
FOLDER, LINK = "bundles", "bundle"

_LARGEST_MANIFEST = 64 << 20
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_.+!@%=,-]+(?:/[A-Za-z0-9_.+!@%=,-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Left free on the disk, bytes.
_KEEP_FREE = 256 << 20


class BadBundle(Exception):
    """A bundle that cannot be used here. hint: what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


AGAIN = "copy it again, and compare its sha256 with that of the original"


def read_manifest(file: tarfile.TarFile) -> tuple[dict[str, Any], str]:
    """The manifest and its sha256, which names the bundle. Raises BadBundle."""
    member = file.next()
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > _LARGEST_MANIFEST:
        raise BadBundle("this file is not a bundle of manylab", "make one with 'manylab env bundle FILE'")
    text = _content(file, member).read()
    try:
        said = json.loads(text)
        if said["format"] != FORMAT:
            raise BadBundle(
                f"this bundle has format {said['format']!r}, and this manylab reads format {FORMAT}",
                "use the manylab in the bundle: tar -xf FILE manylab && ./manylab/manylab install --bundle FILE",
            )
        if not all(isinstance(said[name], str) for name in ("manylab", "machine", "glibc", "locks")):
            raise TypeError
        if not all(isinstance(minor, str) for minor in said["pythons"]):
            raise TypeError
        for name, (size, sha256) in said["files"].items():
            good = _NAME.fullmatch(name) and not {".", ".."} & set(name.split("/")) and name != MANIFEST
            good = good and not any(str(above) in said["files"] for above in PurePosixPath(name).parents)
            if not good or not isinstance(size, int) or size < 0 or not _SHA256.fullmatch(sha256):
                raise BadBundle(f"the bundle names a file that it cannot have ({name[:100]!r})", AGAIN)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadBundle("the manifest of the bundle is damaged", AGAIN) from error
    return said, hashlib.sha256(text).hexdigest()


def check_machine(said: dict[str, Any], locks: Path | None) -> None:
    """Whether what is in the bundle can run here. locks: those of the manylab that is to install it."""
    if said["machine"] != platform.machine():
        raise BadBundle(
            f"the bundle is for {said['machine']}, and this machine is {platform.machine()}",
            "make one on a machine of this kind",
        )
    have = platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else ""
    if said["glibc"] and _numbers(have) < _numbers(said["glibc"]):
        raise BadBundle(
            f"the bundle needs glibc {said['glibc']}, and this machine has {have or 'none'}",
            "make one on a machine with the same system as this",
        )
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if minor not in said["pythons"]:
        raise BadBundle(
            f"the bundle is for Python {', '.join(said['pythons'])}, and this machine's is {minor}",
            f"make one on a machine with Python {minor}, or install that Python here",
        )
    others = [one for one in said["pythons"] if one != minor and not shutil.which(f"python{one}")]
    if others:
        raise BadBundle(
            f"the bundle has environments for Python {', '.join(others)}, which this machine does not have",
            "install that Python here, or make a bundle without these environments",
        )
    if locks is not None and said["locks"] != digest_of(locks):
        raise BadBundle(
            f"the bundle was made by another manylab ({said['manylab']})",
            "use the manylab in the bundle: tar -xf FILE manylab && ./manylab/manylab install --bundle FILE",
        )


def digest_of(locks: Path) -> str:
    """Names the locks that come with a manylab."""
    total = hashlib.sha256()
    for path in sorted(locks.glob("*")):
        if path.suffix in (".txt", ".in", ".json"):
            total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _content(file: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    found = file.extractfile(member)
    if found is None:
        raise BadBundle(f"{member.name[:100]!r} in the bundle is not a file", AGAIN)
    return found


def _members(file: tarfile.TarFile, said: dict[str, Any]) -> Iterator[tuple[tarfile.TarInfo, int, str]]:
    """Every file after the manifest, each once and all of them; what it should be: size, sha256."""
    left = dict(said["files"])
    for member in iter(file.next, None):
        # A sparse one takes a few bytes here and any number of them on the disk.
        if not member.isreg() or member.issparse() or member.name not in left:
            raise BadBundle(f"the bundle has something in it that does not belong there ({member.name[:100]!r})", AGAIN)
        size, sha256 = left.pop(member.name)
        if member.size != size:
            raise BadBundle(f"{member.name} in the bundle is damaged", AGAIN)
        yield member, size, sha256
    if left:
        raise BadBundle(f"the bundle ends too soon: {len(left)} files are missing", AGAIN)


def _copy(file: tarfile.TarFile, member: tarfile.TarInfo, sha256: str, target: BinaryIO | None) -> None:
    """Read a file to its end, into `target` too, and compare it with its sha256."""
    source, total = _content(file, member), hashlib.sha256()
    while part := source.read(_CHUNK):
        total.update(part)
        if target is not None:
            target.write(part)
    if total.hexdigest() != sha256:
        raise BadBundle(f"{member.name} in the bundle is damaged", AGAIN)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as error:
        raise BadBundle(f"{path} cannot be read: {error}", "give a file that 'manylab env bundle' made") from error


def check(path: Path, locks: Path | None) -> tuple[dict[str, Any], str]:
    """Read all of a bundle and compare it with its manifest; changes nothing. Returns manifest and digest."""
    try:
        with _opened(path) as file:
            said, digest = read_manifest(file)
            check_machine(said, locks)
            if sum(size for size, _ in said["files"].values()) > path.stat().st_size:
                raise BadBundle("the bundle is damaged: it is shorter than what should be in it", AGAIN)
            for member, _, sha256 in _members(file, said):
                _copy(file, member, sha256, None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadBundle(f"the bundle is damaged: {error}", AGAIN) from error
    return said, digest


def unpack(path: Path, cache: Path, locks: Path | None, say: Callable[[str], None]) -> Path:
    """Check a bundle, and only then unpack it; returns its folder, which the link cache/bundle leads to from now on.

    Raises BadBundle. What is killed half-way is made again by the next run, and the bundle before stays until then.
    """
    say(f"checking {path}")
    said, digest = check(path, locks)
    total = sum(size for name, (size, _) in said["files"].items() if not name.startswith(PROGRAM))
    folder = cache / FOLDER / digest[:16]
    if not folder.is_dir():
        there = next(above for above in (cache, *cache.parents) if above.exists())
        free = shutil.disk_usage(there).free
        if free < 3 * total + _KEEP_FREE:
            raise BadBundle(
                f"there is not enough room: {free >> 20} MB are free, and {(3 * total + _KEEP_FREE) >> 20} are needed",
                "free some space, then run it again",
            )
        say(f"unpacking {total / 1e6:.0f} MB")
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            _write(path, digest, part)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    new = cache / f".{LINK}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(f"{FOLDER}/{folder.name}")
    new.replace(cache / LINK)
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _write(path: Path, digest: str, part: Path) -> None:
    """All files but the program's, compared once more on their way: the bundle may have been exchanged meanwhile."""
    with _opened(path) as file:
        said, again = read_manifest(file)
        if again != digest:
            raise BadBundle("the bundle was changed while it was read", AGAIN)
        part.mkdir(mode=0o755)
        (part / MANIFEST).write_text(json.dumps(said), encoding="utf-8")
        for member, _, sha256 in _members(file, said):
            if member.name.startswith(PROGRAM):
                continue
            target = part / member.name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            with target.open("xb") as output:
                _copy(file, member, sha256, output)


def main() -> None:
    """See the module."""
    os.umask(0o022)
    path, program, locks = map(Path, sys.argv[1:4])
    try:
        print(unpack(path, program / "cache", locks, lambda line: print(f"manylab: {line}", file=sys.stderr)))
    except BadBundle as error:
        sys.exit(f"manylab: {error.message}\n  next: {error.hint}")
    except OSError as error:
        sys.exit(f"manylab: the bundle cannot be unpacked: {error}\n  next: free some space, then run it again")


if __name__ == "__main__":
    main()
