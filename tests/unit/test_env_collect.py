"""What is removed and what stays: generations, downloads, and what interrupted runs left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from manylab.system import files
from manylab.system.environments import collect, record, share, use


def generation(envs: Path, name: str, number: int, files: dict[str, str] | None = None) -> Path:
    """A folder that counts as a generation."""
    folder = envs / name / f"{name}{number}"
    folder.mkdir(parents=True)
    for path, text in (files or {}).items():
        (folder / path).write_text(text)
    (folder / record.MARKER).write_text(json.dumps({"digest": folder.name, "number": number, "when": number}))
    return folder


def use_now(folder: Path) -> None:
    link = folder.parent / "current"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)


def going(envs: Path, *, keep: int = 1, needed: tuple[Path, ...] = ()) -> list[str]:
    return [one.digest for one in collect.unneeded(envs, keep=keep, needed=needed)]


def test_the_newest_the_one_in_use_and_what_is_needed_stay(tmp_path):
    folders = [generation(tmp_path, "a", number) for number in range(1, 8)]
    use_now(folders[1])
    assert going(tmp_path, keep=2, needed=(folders[3],)) == ["a1", "a3", "a5"]
    assert going(tmp_path, keep=100) == []


def test_what_a_process_uses_stays_and_goes_when_it_ended(tmp_path):
    old, new = generation(tmp_path, "a", 1, {"library": "x" * 5000}), generation(tmp_path, "a", 2)
    use_now(new)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=old, stdin=subprocess.PIPE) as process:
        assert use.users([old])[old] == (process.pid,)
        assert collect.collect(tmp_path, keep=1, needed=(), say=print) == []
        assert old.exists()
        process.kill()
    (removed,) = collect.collect(tmp_path, keep=1, needed=(), say=print)
    assert removed.generation.path == old and removed.size > 5000
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["a2", "current"]


def test_who_comes_between_the_look_and_the_removal_is_seen(tmp_path, monkeypatch):
    old, new = generation(tmp_path, "a", 1), generation(tmp_path, "a", 2)
    use_now(new)
    found = iter([(), (4711,)])
    monkeypatch.setattr(use, "users", lambda folders: dict.fromkeys(folders, next(found)))
    assert collect.collect(tmp_path, keep=1, needed=(), say=print) == []
    assert record.read(old) is not None


def test_a_dry_run_removes_nothing(tmp_path):
    old = generation(tmp_path, "a", 1)
    use_now(generation(tmp_path, "a", 2))
    assert len(collect.collect(tmp_path, keep=1, needed=(), say=print, dry_run=True)) == 1
    assert old.exists()


def test_a_file_that_another_generation_has_frees_nothing(tmp_path):
    old = generation(tmp_path, "a", 1, {"own": "x" * 100_000, "shared": "y" * 100_000})
    new = generation(tmp_path, "a", 2)
    os.link(old / "shared", new / "shared")
    (removed,) = collect.freed([one for one in record.generations(tmp_path / "a") if one.path == old])
    assert 100_000 <= removed.size < 150_000
    everything = record.generations(tmp_path / "a")
    assert collect.own_sizes(tmp_path, everything)[old] == removed.size


def test_interrupted_runs_are_cleaned_up_wherever_they_stopped(tmp_path):
    kept = generation(tmp_path, "a", 3)
    (tmp_path / "a/half").mkdir()
    (tmp_path / "a/wanted").mkdir()
    aside = generation(tmp_path, "a", 1)
    aside.rename(aside.with_name(record.GONE + aside.name))
    half_removed = tmp_path / f"a/{record.GONE}a2"
    half_removed.mkdir()
    removed = collect.sweep(tmp_path, [tmp_path / "a/wanted"])
    assert {path.name for path in removed} == {"half", ".gone-a1", ".gone-a2"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {kept.name, "wanted"}


def test_one_that_somebody_uses_is_put_back_by_the_next_run(tmp_path):
    aside = generation(tmp_path, "a", 1)
    aside = aside.rename(aside.with_name(record.GONE + aside.name))
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=aside, stdin=subprocess.PIPE) as process:
        assert collect.sweep(tmp_path, ()) == []
        process.kill()
    assert record.read(tmp_path / "a/a1") is not None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"/envs/a/1/bin/python", True),
        (b"x /envs/a/1\n", True),
        (b"/envs/a/12/bin", False),
        (b"/envs/a/1-more", False),
        (b"/envs/a/12 /envs/a/1:", True),
        (b"", False),
    ],
)
def test_a_path_is_found_as_a_whole(said, expected):
    assert use._named(b"/envs/a/1", said) is expected


def test_downloads_that_no_generation_has_go_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "uv", lambda *_: "")  # what is left to uv is uv's to test
    for name in ("used", "unused"):
        (tmp_path / f"uv/archive-v0/{name}").mkdir(parents=True)
        (tmp_path / f"uv/archive-v0/{name}/file").write_text("x" * 9000)
    os.link(tmp_path / "uv/archive-v0/used/file", tmp_path / "elsewhere")
    assert collect.prune_cache(tmp_path, {}, print) > 9000
    assert (tmp_path / "uv/archive-v0/used/file").exists()
    assert not (tmp_path / "uv/archive-v0/unused").exists()


def test_where_files_are_copies_the_cache_is_left_to_uv(tmp_path):
    folder = tmp_path / "uv/archive-v0/one"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    assert collect.prune_cache(tmp_path, {}, print) == 0


def test_the_size_of_a_folder_counts_each_file_once(tmp_path):
    (tmp_path / "one").write_text("x" * 100_000)
    os.link(tmp_path / "one", tmp_path / "two")
    assert 100_000 <= share.size(tmp_path) < 150_000


def test_what_was_removed_from_the_cache_is_not_named_there_any_more(tmp_path, monkeypatch):
    # uv itself would take these archives for its own leftovers.
    monkeypatch.setattr(collect, "uv", lambda *arguments: "")
    uv = tmp_path / "uv"
    kept, gone = uv / "archive-v0/KeptKeptKeptKept", uv / "archive-v0/GoneGoneGoneGone"
    for folder in (kept, gone):
        folder.mkdir(parents=True)
        (folder / "module.py").write_text("x = 1\n")
    os.link(kept / "module.py", tmp_path / "in-a-generation.py")
    pointers = uv / "wheels-v9/index/abc/package"
    pointers.mkdir(parents=True)
    (pointers / "kept.http").write_bytes(b"\x81" + b"KeptKeptKeptKept")
    (pointers / "gone.http").write_bytes(b"\x81" + b"GoneGoneGoneGone")
    (pointers / "1.0-py3-none-any").symlink_to("../../../../archive-v0/GoneGoneGoneGone")
    collect.prune_cache(tmp_path, {}, print)
    assert kept.exists() and not gone.exists()
    assert [path.name for path in pointers.iterdir()] == ["kept.http"]


def test_what_installers_were_told_goes_with_the_run_or_with_the_next(tmp_path):
    cache = tmp_path / "cache"
    with files.scratch(cache) as folder:
        (folder / "lock.txt").write_text("x")
        assert folder.is_relative_to(cache)
        collect.sweep(tmp_path / "envs", ())  # as after a run that was killed here
        assert not folder.exists()
        folder.mkdir(parents=True)
    assert not folder.exists()
