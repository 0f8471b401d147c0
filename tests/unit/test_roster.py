"""Names from a file as teachers have them, and the file of passwords."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from manylab.apply import people, roster
from manylab.base.errors import BadName, DiskFull, NotFound, Refused
from manylab.system import accounts

NAMES = ["alice", "bob"]


@pytest.mark.parametrize(
    "data",
    [
        b"alice\nbob\n",
        b"alice\r\nbob",
        b"\xef\xbb\xbfalice\r\nbob\r\n",
        "\ufeffalice\r\nbob\r\n".encode("utf-16-le"),
        b"\n  alice  \n# absent\n\tbob\nalice\n",
    ],
)
def test_a_name_on_each_line_whatever_editor_wrote_it(tmp_path: Path, data: bytes):
    (tmp_path / "names.txt").write_bytes(data)
    assert roster.read_names(tmp_path / "names.txt", people.check_name) == NAMES


def test_all_wrong_lines_are_named_at_once(tmp_path: Path):
    (tmp_path / "names.txt").write_text("alice\n../x\nbob\nroot\n")
    with pytest.raises(BadName) as refused:
        roster.read_names(tmp_path / "names.txt", people.check_name)
    assert "line 2" in refused.value.message and "line 4: root never signs in" in refused.value.message


@pytest.mark.parametrize(("data", "error"), [(b"", NotFound), (b"# none\n", NotFound), (b"\x80\x81", BadName)])
def test_a_file_without_names_is_an_error(tmp_path: Path, data: bytes, error: type[Exception]):
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(error):
        roster.read_names(tmp_path / "names.txt", people.check_name)
    with pytest.raises(NotFound):
        roster.read_names(tmp_path / "missing.txt", people.check_name)


def test_passwords_are_for_their_owner_only_and_never_replace_a_file(tmp_path: Path):
    path = tmp_path / "passwords.csv"
    with roster.PasswordFile(path) as file:
        assert not file.written and not path.exists()
        file.write("alice", "secret")
        assert path.read_bytes() == b"\xef\xbb\xbfaccount,password\r\nalice,secret\r\n", "before the next person"
        file.write('a"b,c', "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="utf-8-sig").splitlines()[2] == '"a""b,c",secret'
    with pytest.raises(Refused), roster.PasswordFile(path):
        pass
    (tmp_path / "link.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused), roster.PasswordFile(tmp_path / "link.csv"):
        pass


def test_a_password_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with roster.PasswordFile(tmp_path / "passwords.csv") as file:
        file.write("alice", "secret")
        monkeypatch.setattr(roster.os, "fsync", full)
        with pytest.raises(DiskFull):
            file.write("bob", "secret")


@pytest.mark.parametrize(
    ("field", "state"),
    [
        ("$y$j9T$salt$hash", "set"),
        ("!$y$j9T$salt$hash", "locked"),
        ("!!$6$salt$hash", "locked"),
        *((field, "none") for field in ("", "x", "!", "!!", "*", "!*")),
    ],
)
def test_a_locked_password_is_not_the_same_as_none(monkeypatch, field: str, state: str):
    text = f"root:*:1::::::\nalice:{field}:1::::::\n"
    monkeypatch.setattr(accounts.Path, "read_text", lambda *_, **__: text)
    assert accounts.password("alice") == state
    assert accounts.password("bob") == "of a directory"
