"""A bundle is checked as a whole before anything is unpacked; whatever is wrong with it, nothing is changed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from manylab.system.bundles import opening, packing
from manylab.system.bundles.opening import BadBundle

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
LOCKS = Path(opening.__file__).parents[2] / "locks"


def bundle(path: Path, content: dict[str, bytes], *, members: list[tarfile.TarInfo] | None = None, **said: Any) -> Path:
    """A bundle of this content; said: what its manifest says differently. members: further ones, as they are."""
    manifest = {
        "format": opening.FORMAT,
        "manylab": "1",
        "machine": platform.machine(),
        "glibc": "2.17",
        "pythons": [MINOR],
        "locks": opening.digest_of(LOCKS),
        "files": {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in content.items()},
        **said,
    }
    with tarfile.open(path, "w") as archive:
        for name, data in {opening.MANIFEST: json.dumps(manifest).encode(), **content}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members or ():
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


FILES = {"manylab/manylab": b"#!/bin/sh\n", "wheels/a-1-py3-none-any.whl": b"a wheel" * 1000, "npm/x/y": b"z"}


def opened(path: Path, cache: Path) -> Path:
    return opening.unpack(path, cache, LOCKS, lambda line: None)


def test_a_whole_one_is_unpacked_and_the_program_stays_outside(tmp_path):
    folder = opened(bundle(tmp_path / "b.tar", FILES), tmp_path / "cache")
    assert (tmp_path / "cache/bundle").resolve() == folder
    assert (folder / "wheels/a-1-py3-none-any.whl").read_bytes() == FILES["wheels/a-1-py3-none-any.whl"]
    assert not (folder / "manylab").exists()
    assert opened(tmp_path / "b.tar", tmp_path / "cache") == folder
    newer = opened(bundle(tmp_path / "c.tar", {**FILES, "npm/new": b""}), tmp_path / "cache")
    assert (tmp_path / "cache/bundle").resolve() == newer and not folder.exists()


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"machine": "pdp11"}, "pdp11"),
        ({"pythons": ["2.7"]}, "2.7"),
        ({"glibc": "99.1"}, "99.1"),
        ({"format": 2}, "format 2"),
        ({"locks": "x"}, "another manylab"),
        ({"files": {"../x": [1, "0" * 64]}}, "cannot have"),
        ({"files": {"/etc/x": [1, "0" * 64]}}, "cannot have"),
        ({"files": {"a/../../x": [1, "0" * 64]}}, "cannot have"),
        ({"files": {"x": [-1, "0" * 64]}}, "cannot have"),
        ({"files": {"x": ["1", "0" * 64]}}, "cannot have"),
        ({"files": {"x": [1, "0" * 64], "x/y": [1, "0" * 64]}}, "cannot have"),
        ({"files": []}, "damaged"),
        ({"pythons": [MINOR, "2.0"]}, "2.0, which this machine does not have"),
        ({"files": {"x": [1 << 40, "0" * 64]}}, "damaged: it is shorter than"),
        ({"files": {**{name: [1, "0" * 64] for name in FILES}, "more": [1, "0" * 64]}}, "damaged"),
        ({"members": [link("wheels/link", "/etc/passwd", tarfile.SYMTYPE)]}, "does not belong"),
        ({"members": [link("wheels/link", "/etc/passwd", tarfile.LNKTYPE)]}, "does not belong"),
        ({"members": [link("dev", "", tarfile.CHRTYPE)]}, "does not belong"),
        ({"members": [tarfile.TarInfo("npm/x/y")]}, "does not belong"),
        ({"members": [tarfile.TarInfo("../../evil")]}, "does not belong"),
    ],
)
def test_what_is_not_for_this_machine_or_does_not_belong_is_refused(tmp_path, more, said):
    path = bundle(tmp_path / "b.tar", FILES, **more)
    with pytest.raises(BadBundle, match=said) as refused:
        opened(path, tmp_path / "cache")
    assert refused.value.hint
    assert not (tmp_path / "cache").exists()


def test_a_file_that_is_longer_than_its_bytes_is_not_unpacked(tmp_path):
    hole = tarfile.TarInfo("npm/x/y")
    hole.pax_headers = {"GNU.sparse.size": "5000", "GNU.sparse.map": "0,0"}
    files = {"npm/x/y": [5000, hashlib.sha256(bytes(5000)).hexdigest()]}
    path = bundle(tmp_path / "b.tar", {}, members=[hole], files=files)
    with tarfile.open(path) as archive:
        assert archive.getmember("npm/x/y").size == 5000
    with pytest.raises(BadBundle, match="does not belong"):
        opened(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_manifest_that_is_a_deep_hole_is_damaged(tmp_path):
    text = b"[" * 200_000
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        member = tarfile.TarInfo(opening.MANIFEST)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    with pytest.raises(BadBundle, match="damaged"):
        opened(tmp_path / "b.tar", tmp_path / "cache")


def test_wherever_a_bit_is_turned_or_the_end_is_missing_nothing_is_unpacked(tmp_path):
    whole = bundle(tmp_path / "b.tar", FILES).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for place in range(0, end, 97):
        data = bytearray(whole)
        data[place] ^= 4
        (tmp_path / "bad.tar").write_bytes(data)
        try:
            opened(tmp_path / "bad.tar", tmp_path / "cache")
        except BadBundle:
            assert not (tmp_path / "cache").exists(), place
            continue
        # Times, owners and padding mean nothing; what was unpacked is what it should be.
        for name, content in FILES.items():
            if not name.startswith("manylab/"):
                assert (tmp_path / "cache/bundle" / name).read_bytes() == content
        shutil.rmtree(tmp_path / "cache")
    for length in range(0, end, 501):
        (tmp_path / "bad.tar").write_bytes(whole[:length])
        with pytest.raises(BadBundle):
            opened(tmp_path / "bad.tar", tmp_path / "cache")
        assert not (tmp_path / "cache").exists()


def test_what_is_no_bundle_is_said_so(tmp_path):
    for content in (b"", b"hello", bytes(10240)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(BadBundle):
            opened(tmp_path / "x", tmp_path / "cache")
    with pytest.raises(BadBundle):
        opened(tmp_path / "missing", tmp_path / "cache")


def test_the_glibc_that_all_wheels_need_is_known(tmp_path):
    older = "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64"
    for tags in ("py3-none-any", older, "cp311-cp311-manylinux_2_28_x86_64"):
        (tmp_path / f"a-1-{tags}.whl").touch()
    assert packing.glibc(tmp_path) == "2.28"


def test_what_packing_writes_can_be_opened(tmp_path):
    folder = tmp_path / "folder"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    target = tmp_path / "bundle.tar"
    packing.write(folder, target, version="1", pythons=[MINOR], say=lambda line: None)
    assert (opened(target, tmp_path / "cache") / "npm/x/y").read_bytes() == b"z"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.tar", "cache", "folder"]
