"""The trash that the file browser deletes to."""

import errno
import os
import shutil
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
    assert record[3:] == ["X-Manylab=1"]
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


def test_by_age_only_what_is_old_and_was_put_there_here_is_removed_and_no_link_is_followed(home):
    can, kept = Trash(home), home / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    for name in ("old", "new"):
        folder = make(home / name)
        (folder).chmod(0o700)
        (folder / "link").symlink_to(kept)
        can.put(folder)
    for name in ("desktop", "unrecorded"):
        (can.files / name).write_text("x")
    (can.info / "desktop.trashinfo").write_text(
        f"[Trash Info]\nPath={home}/desktop\nDeletionDate=2001-01-01T00:00:00\n"
    )
    now = time.time()
    for name in ("old", "desktop"):
        os.utime(can.info / f"{name}.trashinfo", (now - 100, now - 100))
    assert can.empty_by_age(now - 50) == 1
    assert can.empty_by_age(now + 50) == 1
    assert {item.name for item in can.items()} == {"desktop", "unrecorded"}
    assert (kept / "file").exists()
    assert can.empty() == 2


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


def full(*_: object, **__: object) -> None:
    raise OSError(errno.EDQUOT, "quota")


@pytest.mark.parametrize("step", ["open", "write"])
def test_without_room_for_a_record_it_is_in_the_trash_all_the_same(home, monkeypatch, step):
    can = Trash(home)
    for text in ("first", "second"):
        (home / "a").write_text(text)
        with monkeypatch.context() as disk:
            if text == "second":
                disk.setattr(trash.os, step, full)
            target = can.put(home / "a")
        assert target.read_text() == text
    assert {(item.name, item.original, item.ours) for item in can.items()} == {
        ("a", home / "a", True),
        ("a 2", None, False),
    }
    assert [one.name for one in can.info.iterdir()] == ["a.trashinfo"]
    assert can.restore("a 2") == home / "a 2"
    assert (home / "a 2").read_text() == "second"


@pytest.mark.parametrize("case", ["no folder", "no rename", "other file system"])
def test_what_cannot_even_be_renamed_on_a_full_disk_stays_and_nothing_is_removed(home, monkeypatch, case):
    can = Trash(home)
    for name in ("a", "b"):
        (home / name).write_text(name)
    can.put(home / "a")
    with monkeypatch.context() as disk:
        disk.setattr(trash.os, "open", full)
        if case == "no folder":
            disk.setattr(Path, "mkdir", full)
        else:
            disk.setattr(trash, "_rename", full if case == "no rename" else other_device)
        with pytest.raises(trash.NoRoom):
            can.put(home / "b")
    assert (home / "b").read_text() == "b"
    assert [(item.name, item.original) for item in can.items()] == [("a", home / "a")]


def test_a_copy_for_which_there_is_no_room_leaves_nothing(home, monkeypatch):
    monkeypatch.setattr(trash, "_rename", other_device)
    monkeypatch.setattr(trash.shutil, "copytree", lambda *_, **__: no_copy())
    (home / "folder").mkdir()
    can = Trash(home)
    with pytest.raises(trash.NoRoom):
        can.put(home / "folder")
    assert (home / "folder").exists()
    assert can.items() == []
    assert list(can.info.iterdir()) == []


def no_copy() -> None:
    """As shutil says it."""
    raise shutil.Error([("a", "b", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))])


def other_device(*_: object) -> None:
    raise OSError(errno.EXDEV, "cross-device")


def test_from_another_file_system_it_is_copied_unless_it_is_too_large(home, monkeypatch):
    monkeypatch.setattr(trash, "_rename", other_device)
    folder, can = make(home / "data"), Trash(home)
    before = tree(folder)
    assert tree(can.put(folder)) == before
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


@pytest.mark.parametrize("name", ["ü" * 127, "a" + "ü" * 127, "a." + "x" * 253, "." + "x" * 254, "表" * 80 + ".ipynb"])
def test_a_name_that_is_as_long_as_can_be_has_room_for_its_record(home, name):
    can = Trash(home)
    for _ in range(2):
        (home / name).write_text("x")
        can.put(home / name)
    items = can.items()
    assert [item.original for item in items] == [home / name] * 2
    for item in items:
        item.name.encode()  # whole characters


def test_a_name_that_is_no_text_goes_and_comes_back(home):
    can, place = Trash(home), home / os.fsdecode(b"\xe9" * 255)
    place.write_text("x")
    can.put(place)
    (item,) = can.items()
    assert item.original == place
    assert can.restore(item.name) == place


def test_folders_that_may_not_be_read_are_removed_and_keep_their_groups_bits(home, monkeypatch):
    folder = home / "a"
    (folder / "b/c").mkdir(parents=True)
    for mode, one in ((0o2070, folder / "b/c"), (0o2050, folder / "b"), (0o2070, folder)):
        one.chmod(mode)
    modes: list[int] = []
    real = Path.chmod

    def chmod(self: Path, mode: int) -> None:
        modes.append(mode)
        real(self, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    tries = iter((PermissionError(), None))

    def rmtree(path: Path, remove=shutil.rmtree) -> None:
        if error := next(tries):  # also as root
            raise error
        remove(path)

    monkeypatch.setattr(trash.shutil, "rmtree", rmtree)
    trash.remove(folder)
    assert modes == [0o2770, 0o2750, 0o2770]
    assert not folder.exists()
