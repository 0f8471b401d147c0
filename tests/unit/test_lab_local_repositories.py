"""What git is told of repositories on this machine that a person agreed to fetch from."""

from __future__ import annotations

import os
import subprocess

import pytest

from manylab.lab import local_repositories, own


@pytest.mark.parametrize(
    ("repo", "path"),
    [
        ("file:///srv/course.git", "/srv/course.git"),
        ("file:///srv/%E8%AF%BE%E7%A8%8B%20one/", "/srv/课程 one"),
        ("/srv/a%20b", "/srv/a%20b"),
        ("https://example.org/srv", None),
        ("git@example.org:srv", None),
        ("file://", None),
        ("/", None),
        ("/srv/a\n[core]", None),
        ("file:///srv/a%0A[core]", None),
    ],
)
def test_only_an_absolute_path_is_a_repository_of_this_machine(repo, path):
    assert local_repositories.path_of(repo) == path


def test_a_wildcard_of_git_names_nothing():
    assert local_repositories.names("/srv/*") == []


def test_git_reads_the_persons_own_configuration_and_exactly_these_names(tmp_path, monkeypatch):
    home, runtime, real = (tmp_path / name for name in ("home", "runtime", 'a "b" \\ c'))
    for folder in (home, runtime, real):
        folder.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Bob\n[safe]\n\tdirectory = /srv/own\n")
    (tmp_path / "link").symlink_to(real)
    monkeypatch.setitem(own.environ, "JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    started = local_repositories._WithTrust()
    assert started.PIPE == subprocess.PIPE
    words = [os.fspath("/usr/bin/env")]
    assert b"GIT_CONFIG_GLOBAL" not in started.check_output(words)
    local_repositories.trust([f"file://{tmp_path}/link", "https://example.org/course"])
    assert b"GIT_CONFIG_GLOBAL" in started.check_output(words)
    assert "GIT_CONFIG_GLOBAL" not in os.environ
    git = ["git", "config", "--global", "--includes", "--get-all"]
    assert started.check_output([*git, "user.name"], text=True, cwd="/") == "Bob\n"
    directories = started.check_output([*git, "safe.directory"], text=True, cwd="/").splitlines()
    expected = {
        f"{name}{end}" for name in (f"{tmp_path}/link", str(real)) for end in ("", "/.git", ".git", ".git/.git")
    }
    assert set(directories) == {"/srv/own", *expected}


def test_a_repository_that_is_not_there_is_not_one_that_cannot_be_read(tmp_path):
    assert not local_repositories.is_unreadable(str(tmp_path / "none"))
    (tmp_path / "course/.git/objects").mkdir(parents=True)
    (tmp_path / "course/.git/refs").mkdir()
    (tmp_path / "course/.git/HEAD").write_text("ref: refs/heads/main\n")
    assert not local_repositories.is_unreadable(str(tmp_path / "course"))
