"""Where a link of nbgitpuller may put a repository, and which folder it may bring up to date without a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from manylab.lab.pulling import is_from, place


@pytest.mark.parametrize("target", ["course", "courses/first", "a b", "ä", "course/"])
def test_a_repository_goes_into_a_folder_of_the_home(tmp_path, target):
    assert place(tmp_path, "", target) == tmp_path / target
    assert place(tmp_path, "parent", target) == tmp_path / "parent" / target


@pytest.mark.parametrize(
    "target",
    [
        *("", ".", "..", "/", "/etc", "../other", "a/../../other", "a/..", "course/../.config/git"),
        *(".config/git", ".ipython/profile_default/startup", "course/.git", ".", "link/startup", "hidden"),
    ],
)
def test_nothing_goes_outside_or_where_programs_look_for_files_of_their_own(tmp_path, target):
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / ".local").mkdir()
    (tmp_path / "hidden").symlink_to(".local")
    with pytest.raises(ValueError, match="a repository"):
        place(tmp_path, "", target)


def test_only_a_clone_of_the_very_repository_is_brought_up_to_date_without_a_question(tmp_path: Path):
    assert not is_from("https://example.org/course", tmp_path)
    (tmp_path / ".git").mkdir()
    config = tmp_path / ".git/config"
    config.write_text('[core]\n\tbare = false\n[remote "origin"]\n\turl = https://example.org/course\n')
    assert is_from("https://example.org/course", tmp_path)
    assert not is_from("https://example.org/cours", tmp_path)
    config.write_text(config.read_text() + '[remote "other"]\n\turl = https://evil.example\n')
    assert not is_from("https://example.org/course", tmp_path)
    config.unlink()
    config.symlink_to("/dev/null")
    assert not is_from("https://example.org/course", tmp_path)
