"""The trash that the file browser deletes to."""

import errno
import os
import time
from pathlib import Path

import pytest

from manylab.lab import trash
from manylab.lab.trash import Trash


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def tree(path: Path) -> dict[str, str]:
    return {str(one.relative_to(path)): one.read_text() for one in sorted(path.rglob("*")) if one.is_file()}


def make(folder: Path) -> Path:
    (folder / "sub/.hidden").mkdir(parents=True)
    (folder / "sub/.hidden/file").write_text("1")
    (folder / "read-only").write_text("2")
    (folder / "read-only").chmod(0o400)
    (folder / "sub").chmod(0o500)
    folder.chmod(0o500)
    return folder


def test_a_folder_with_all_that_is_in_it_goes_and_comes_back(home):
    folder, can = make(home / "data"), Trash(home)
    before, mode = tree(folder), folder.stat().st_mode
    target = can.put(folder)
    assert target == home / ".local/share/Trash/files/data"
    assert not folder.exists()
    assert [(item.name, item.original) for item in can.items()] == [("data", folder)]
    assert can.restore("data") == folder
    assert (tree(folder), folder.stat().st_mode) == (before, mode)
    assert can.items() == []


def test_what_is_put_there_is_as_freedesktop_describes_it(home):
    (home / "50 % ü.txt").write_text("x")
    Trash(home).put(home / "50 % ü.txt")
    record = (home / ".local/share/Trash/info/50 % ü.txt.trashinfo").read_text().splitlines()
    assert record[:2] == ["[Trash Info]", f"Path={home}/50%20%25%20%C3%BC.txt"]
    assert record[2].startswith("DeletionDate=20")
    assert (home / ".local/share/Trash").stat().st_mode & 0o777 == 0o700


def test_two_of_one_name_are_both_kept(home):
    can = Trash(home)
    for text in ("first", "second"):
        (home / "a.txt").write_text(text)
        can.put(home / "a.txt")
    assert tree(can.files) == {"a.txt": "first", "a 2.txt": "second"}
    (home / "a.txt").write_text("third")
    with pytest.raises(FileExistsError):
        can.restore("a.txt")
    assert (home / "a.txt").read_text() == "third"


def test_a_link_goes_and_what_it_leads_to_stays(home):
    real = make(home / "real")
    (home / "link").symlink_to(real)
    (home / "broken").symlink_to("nowhere")
    can = Trash(home)
    for name in ("link", "broken"):
        can.put(home / name)
    assert can.empty() == 2
    assert tree(real) == {"read-only": "2", "sub/.hidden/file": "1"}


def test_only_what_is_old_is_removed_and_no_link_is_followed(home):
    can, kept = Trash(home), home / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    for name in ("old", "new"):
        folder = make(home / name)
        (folder).chmod(0o700)
        (folder / "link").symlink_to(kept)
        can.put(folder)
    now = time.time()
    os.utime(can.info / "old.trashinfo", (now - 100, now - 100))
    assert can.empty(now - 50) == 1
    assert [item.name for item in can.items()] == ["new"]
    assert (kept / "file").exists()


@pytest.mark.parametrize("which", ["", "files", "info"])
def test_a_trash_that_is_a_link_is_not_used(home, which):
    elsewhere = home / "elsewhere"
    (elsewhere / "files/precious").mkdir(parents=True)
    (elsewhere / "info").mkdir()
    can = Trash(home)
    can.folder.parent.mkdir(parents=True)
    if which:
        can._make()
        (can.folder / which).rmdir()
        (can.folder / which).symlink_to(elsewhere / which)
    else:
        can.folder.symlink_to(elsewhere)
    (home / "file").write_text("x")
    assert can.items() == []
    assert can.empty() == 0
    with pytest.raises(OSError, match=r"folder of your own|exists"):
        can.put(home / "file")
    assert (home / "file").exists()
    assert (elsewhere / "files/precious").exists()


def test_on_a_full_disk_the_oldest_gives_way_and_then_it_is_for_good(home, monkeypatch):
    can = Trash(home)
    for name in ("a", "b", "c", "d"):
        (home / name).write_text(name)
    can.put(home / "a")
    can.put(home / "b")
    os.utime(can.info / "a.trashinfo", (1, 1))

    def full(_: int) -> None:
        # There is room again when something was removed.
        if len(list(can.files.iterdir())) >= most:
            raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(trash, "_need_room", full)
    most = 2
    assert can.put(home / "c") is not None
    assert [item.name for item in can.items()] == ["b", "c"]
    most = 0
    assert can.put(home / "d") is None
    assert not (home / "d").exists()
    assert can.items() == []


def test_from_another_file_system_it_is_copied_unless_it_is_too_large(home, monkeypatch):
    def other_device(self: Path, _: Path) -> None:
        raise OSError(errno.EXDEV, "cross-device")

    monkeypatch.setattr(trash, "_rename", other_device)
    folder, can = make(home / "data"), Trash(home)
    before = tree(folder)
    target = can.put(folder)
    assert target is not None
    assert tree(target) == before
    assert not folder.exists()
    monkeypatch.setattr(trash, "_MOST", 10)
    (home / "large").write_text("x" * 100)
    with pytest.raises(trash.TooLarge):
        can.put(home / "large")
    assert (home / "large").exists()
    assert [item.name for item in can.items()] == ["data"]


def test_what_cannot_be_moved_stays_and_leaves_no_record(home):
    can = Trash(home)
    can._make()
    with pytest.raises(FileNotFoundError):
        can.put(home / "nothing")
    with pytest.raises(OSError, match="Invalid argument"):
        can.put(home / ".local")  # the trash is in it
    assert list(can.info.iterdir()) == []


def test_a_name_that_is_as_long_as_can_be_has_room_for_its_record(home):
    can = Trash(home)
    for _ in range(2):
        (home / ("ü" * 127)).write_text("x")
        assert can.put(home / ("ü" * 127)) is not None
    assert len(can.items()) == 2
