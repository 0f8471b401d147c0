"""A home that is in a bad way does not keep a server from starting."""

from pathlib import Path

import pytest

pytest.importorskip("json5")

from manylab.lab import folders


@pytest.fixture
def home(tmp_path):
    (tmp_path / "runtime").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def prepare(home):
    said = []
    environ = {"JUPYTER_RUNTIME_DIR": str(home.parent / "runtime")}
    return folders.prepare(environ, home, said.append), said


def test_a_fresh_home_gets_its_folders_and_nothing_is_said(home):
    chosen, said = prepare(home)
    assert said == []
    assert chosen["JUPYTERLAB_SETTINGS_DIR"] == str(home / ".jupyter/lab/user-settings")
    assert all(Path(folder).is_dir() for folder in chosen.values())


def test_a_folder_that_cannot_be_made_gets_a_stand_in_beside_the_runtime_files(home):
    (home / ".jupyter").write_text("a file, so that even root cannot make a folder in it")
    chosen, said = prepare(home)
    assert chosen["JUPYTERLAB_SETTINGS_DIR"] == str(home.parent / "runtime/stand-in/settings")
    assert Path(chosen["JUPYTERLAB_WORKSPACES_DIR"]).is_dir()
    assert len(said) == 2
    assert (home / ".jupyter").is_file()


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ('{"a": 1}', True),
        ("// a comment\n{'a': 1,}", True),
        ("{}", True),
        ("", False),
        ("{broken", False),
        ("[]", False),
        ("{" * 5000, False),
    ],
)
def test_what_jupyterlab_can_read(text, readable):
    assert folders.readable(text) is readable


def test_broken_files_are_set_aside_and_good_ones_stay(home):
    settings = home / ".jupyter/lab/user-settings/@jupyterlab/x"
    workspaces = home / ".jupyter/lab/workspaces"
    settings.mkdir(parents=True)
    workspaces.mkdir(parents=True)
    (settings / "good.jupyterlab-settings").write_text('// mine\n{"a": 1}')
    (settings / "bad.jupyterlab-settings").write_text("{broken")
    (settings / "binary.jupyterlab-settings").write_bytes(b"\xff\xfe\x00")
    (workspaces / "default.jupyterlab-workspace").write_text("")
    _, said = prepare(home)
    assert sorted(path.name for path in settings.iterdir()) == [
        "bad.jupyterlab-settings.broken",
        "binary.jupyterlab-settings.broken",
        "good.jupyterlab-settings",
    ]
    assert [path.name for path in workspaces.iterdir()] == ["default.jupyterlab-workspace.broken"]
    assert len(said) == 3
