"""Generations share files and byte code, and nothing that only looks the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from manylab.system.environments import record, share
from support.environment import Builder
from support.wheels import wheel

LARGE = {f"large/part{number}.py": f"value = {number}\n" * 500 for number in range(60)} | {"large/__init__.py": ""}


@pytest.fixture
def builder(tmp_path) -> Builder:
    return Builder(tmp_path)


def cached(source: Path) -> Path:
    """The byte code of a source file."""
    return next((source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc"))


def test_a_second_generation_costs_little_more_than_what_is_new(builder):
    large = wheel(builder.wheels, "large", "1.0", LARGE)
    first = builder.install(builder.wanted("aaa", large))
    more = wheel(builder.wheels, "small", "1.0", {"small.py": "x = 1\n"})
    second = builder.install(builder.wanted("bbb", large, more))
    one, two = share.inodes(first.path), share.inodes(second.path)
    same = [Path("lib") / path.relative_to(first.path / "lib") for path in first.path.rglob("lib/**/large/**/*.py*")]
    assert len(same) > 2 * 60
    for path in same:
        assert (first.path / path).stat().st_ino == (second.path / path).stat().st_ino, path
    assert sum(two.values()) - sum(size for inode, size in two.items() if inode in one) < 0.4 * sum(one.values())
    assert [one.number for one in record.generations(first.path.parent)] == [1, 2]


def test_copies_become_the_same_file_and_modes_and_owners_must_agree(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub/same").write_text("same")
        (tmp_path / name / "sub/other").write_text(name)
        (tmp_path / name / "sub/program").write_text("#!/bin/sh\n")
        (tmp_path / name / "sub/empty").write_text("")
    (tmp_path / "new/sub/program").chmod(0o755)
    share.link_same(tmp_path / "new", [tmp_path / "old"])
    inode = {path.name: path.stat().st_ino for path in (tmp_path / "old/sub").iterdir()}
    now = {path.name: path.stat().st_ino for path in (tmp_path / "new/sub").iterdir()}
    assert [name for name in inode if inode[name] == now[name]] == ["same"]
    assert (tmp_path / "new/sub/other").read_text() == "new"


def test_links_are_never_followed(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("text")
    (tmp_path / "old/file").symlink_to(tmp_path / "secret")
    (tmp_path / "new/file").write_text("text")
    share.link_same(tmp_path / "new", [tmp_path / "old"])
    assert (tmp_path / "new/file").stat().st_ino != (tmp_path / "secret").stat().st_ino


def test_byte_code_of_another_source_of_the_same_size_and_second_is_not_taken(builder):
    """Two versions that differ in one digit, unpacked in the same second."""
    old = wheel(builder.wheels, "small", "1.0", {"small.py": "version = 1\n"})
    new = wheel(builder.wheels, "small", "2.0", {"small.py": "version = 2\n"})
    first = builder.install(builder.wanted("aaa", old))
    source = record.site_packages(first.path) / "small.py"
    second = builder.wanted("bbb", new)
    builder.install(second)
    target = record.site_packages(second.path) / "small.py"
    os.utime(target, ns=(source.stat().st_mtime_ns, source.stat().st_mtime_ns))
    assert cached(source).stat().st_ino != cached(target).stat().st_ino
    said = subprocess.run(
        [second.path / "bin/python", "-I", "-c", "import small; print(small.version, small.__file__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["2", str(target)]


def test_no_pth_file_of_a_package_is_run_while_an_environment_is_made(builder, tmp_path):
    ran = tmp_path / "ran"
    evil = {
        "evil.pth": f"import os; open({str(ran)!r}, 'a').write('ran')\n",
        "evil/__init__.py": "",
        "evil/a.py": "b = 1\n",
    }
    builder.install(builder.wanted("aaa", wheel(builder.wheels, "evil", "1.0", evil)))
    builder.install(builder.wanted("bbb", wheel(builder.wheels, "evil", "2.0", evil)))
    assert not ran.exists()


def test_everybody_can_read_it_whatever_the_umask_is(builder):
    before = os.umask(0o077)
    try:
        want = builder.install(builder.wanted("aaa", wheel(builder.wheels, "large", "1.0", LARGE)))
    finally:
        os.umask(before)
    for path in [want.path, *want.path.rglob("*")]:
        needed = 0o555 if path.is_dir() else 0o444
        assert path.is_symlink() or path.stat().st_mode & needed == needed, path


def test_a_marker_of_the_first_versions_is_understood(tmp_path):
    folder = tmp_path / "envs/default/0123456789ab"
    folder.mkdir(parents=True)
    (folder / record.MARKER).write_text('{"digest": "0123456789ab", "name": "default", "contents": []}\n')
    (one,) = record.generations(folder.parent)
    assert (one.number, one.asked, one.tested, one.report) == (0, None, (), ())
    assert one.when > 0


@pytest.mark.parametrize("text", ["", "[]", "{", '{"number": "x"}', "null"])
def test_a_damaged_marker_is_no_generation(tmp_path, text):
    folder = tmp_path / "envs/default/0123456789ab"
    folder.mkdir(parents=True)
    (folder / record.MARKER).write_text(text)
    assert record.generations(folder.parent) == ()
