"""Files as the Lab sees them: the same as Jupyter's own says, sooner; and deleted to the trash."""

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("jupyter_server")

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado.web import HTTPError

from manylab.lab import languages
from manylab.lab.contents import Contents, age
from manylab.lab.trash import NoRoom, Trash


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def fill(folder: Path) -> None:
    for name in ("a.txt", "b.ipynb", "c.tar.gz", ".hidden", "ü x.py", "noextension", "__pycache__", "x.pyc"):
        (folder / name).write_text(name)
    (folder / "broken").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "link.txt").symlink_to("a.txt")
    (folder / "folder-link").symlink_to("sub")
    (folder / "sub.ipynb").mkdir()
    (folder / "sub").mkdir()
    (folder / "sub/file").write_text("x")
    (folder / "locked").mkdir(mode=0)
    (folder / "read-only").write_text("x")
    (folder / "read-only").chmod(0o400)
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"latin-\xe9")).write_text("x")
    os.utime(folder / "a.txt", (-5, -5))
    os.utime(folder / "c.tar.gz", (1e11, 1e11))


def listed(manager: AsyncLargeFileManager, path: str) -> list[dict]:
    found = asyncio.run(manager.get(path))
    return sorted(found["content"], key=lambda model: model["name"])


@pytest.mark.parametrize("hidden", [False, True])
def test_a_listing_is_what_jupyter_server_says(home, hidden):
    fill(home)
    fill(home / "sub")
    if hidden:  # Jupyter shows those then; nobody can open one
        (home / "loop").unlink()
        (home / "sub/loop").unlink()
    options = {"root_dir": str(home), "allow_hidden": hidden}
    for path in ("", "sub", "folder-link"):
        assert listed(Contents(**options), path) == listed(AsyncLargeFileManager(**options), path)


def test_a_listing_takes_no_longer_than_jupyter_servers(home):
    for number in range(1000):
        (home / f"{number}.txt").write_text("")

    def seconds(kind: type[AsyncLargeFileManager]) -> float:
        began = time.perf_counter()
        assert len(listed(kind(root_dir=str(home)), "")) == 1000
        return time.perf_counter() - began

    assert min(seconds(Contents) for _ in range(3)) < min(seconds(AsyncLargeFileManager) for _ in range(3))


def test_a_folder_that_is_not_there_or_hidden_is_not_listed(home):
    (home / ".secret").mkdir()
    for path in ("nothing", ".secret"):
        with pytest.raises(HTTPError) as raised:
            asyncio.run(Contents(root_dir=str(home)).get(path, type="directory"))
        assert raised.value.status_code == 404


def test_a_folder_with_something_in_it_goes_to_the_trash(home):
    fill(home)
    asyncio.run(Contents(root_dir=str(home)).delete("sub"))
    assert not (home / "sub").exists()
    assert (home / ".local/share/Trash/files/sub/file").read_text() == "x"
    asyncio.run(Contents(root_dir=str(home)).delete("folder-link"))
    assert (home / ".local/share/Trash/files/folder-link").is_symlink()


def test_without_a_trash_a_folder_is_gone_at_once(home):
    fill(home)
    asyncio.run(Contents(root_dir=str(home), delete_to_trash=False, always_delete_dir=True).delete("sub"))
    assert not (home / "sub").exists()
    assert not (home / ".local").exists()


def test_what_cannot_be_deleted_is_said(home):
    (home / ".hidden").write_text("x")
    for path, status in ((".hidden", 400), ("nothing", 404)):
        with pytest.raises(HTTPError) as raised:
            asyncio.run(Contents(root_dir=str(home)).delete_file(path))
        assert raised.value.status_code == status


@pytest.mark.parametrize(("language", "said"), [("en", "disk or your quota is full"), ("zh", "配额已满")])
def test_without_room_nothing_is_deleted_and_what_to_do_is_said(home, monkeypatch, language, said):
    (home / "file").write_text("x")

    def put(self: Trash, path: Path) -> None:
        raise NoRoom(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr(Trash, "put", put)
    monkeypatch.setattr(languages, "of_sentences", lambda: language)
    with pytest.raises(HTTPError) as raised:
        asyncio.run(Contents(root_dir=str(home)).delete_file("file"))
    assert raised.value.status_code == 507
    for part in ("file", said, "manylab trash empty", "rm -r"):
        assert part in raised.value.log_message
    assert (home / "file").exists()


def test_how_long_things_stay():
    assert age({"MANYLAB_TRASH": "3600"}) == 3600
    assert age({"MANYLAB_TRASH": ""}) is None
    assert age({}) is None
