"""Where everything of a site is: as root, as an ordinary user, and below MANYLAB_ROOT."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from manylab.base import layout as layouts
from manylab.base.errors import BadName
from manylab.base.layout import Layout, personal_layout, system_layout

HOME = Path("/home/carol")
# On a machine where root has no site.
find_layout = functools.partial(layouts.find_layout, exists=lambda _: False)
PATHS = sorted(name for name, value in vars(Layout).items() if isinstance(value, property))
FOLDERS = ("config", "program", "state", "run", "logs")
OF_THE_MACHINE = {
    "systemd_units",
    "tmpfiles_file",
    "init_script",
    "pam_file",
    "profile_file",
    "fish_file",
    "zsh_file",
    "csh_file",
    "user_generator",
    "machine_kernels",
    "sudoers_file",
    "command",
    "system_font",
}


def test_root_s_site_is_where_the_design_says():
    layout = find_layout(uid=0, home=Path("/root"), environ={})
    assert layout == system_layout() and layout.system
    assert [str(getattr(layout, name)) for name in FOLDERS] == [
        "/etc/manylab", "/opt/manylab", "/var/lib/manylab", "/run/manylab", "/var/log/manylab",
    ]  # fmt: skip
    assert str(layout.config_file) == "/etc/manylab/manylab.toml"


def test_an_ordinary_user_s_site_is_in_their_home():
    layout = find_layout(uid=1000, home=HOME, environ={})
    assert not layout.system
    assert [str(getattr(layout, name).relative_to(HOME)) for name in FOLDERS] == [
        ".config/manylab", ".local/share/manylab", ".local/state/manylab",
        ".local/state/manylab/run", ".local/state/manylab/logs",
    ]  # fmt: skip


def test_sockets_of_an_ordinary_user_are_in_the_runtime_folder_where_there_is_one():
    layout = find_layout(uid=1000, home=HOME, environ={"XDG_RUNTIME_DIR": "/run/user/1000"})
    assert str(layout.run) == "/run/user/1000/manylab"
    assert find_layout(uid=1000, home=HOME, environ={"XDG_RUNTIME_DIR": ""}).run == layout.state / "run"
    assert find_layout(uid=0, home=HOME, environ={"XDG_RUNTIME_DIR": "/run/user/0"}).run == Path("/run/manylab")


@pytest.mark.parametrize("uid", [0, 1000])
def test_manylab_root_takes_every_path_below_it(uid):
    environ = {"MANYLAB_ROOT": "/srv/test", "XDG_RUNTIME_DIR": "/run/user/1000"}
    layout = find_layout(uid=uid, home=HOME, environ=environ)
    assert layout.system is (uid == 0)
    for name in (*FOLDERS, *PATHS):
        assert getattr(layout, name).is_relative_to("/srv/test"), name


def test_manylab_root_may_be_relative_and_empty_is_as_good_as_not_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_layout(uid=0, home=HOME, environ={"MANYLAB_ROOT": "here"}).root == tmp_path / "here"
    assert find_layout(uid=0, home=HOME, environ={"MANYLAB_ROOT": ""}) == system_layout()


def test_where_root_has_a_site_that_is_meant_unless_one_s_own_is_asked_for():
    find = functools.partial(layouts.find_layout, home=HOME, exists=lambda layout: layout.system)
    assert find(uid=1000, environ={}) == find(uid=0, environ={}) == system_layout()
    assert find(uid=1000, environ={"MANYLAB_SITE": "own"}) == personal_layout(HOME)
    assert find(uid=1000, environ={"MANYLAB_ROOT": "/srv/test"}) == system_layout(Path("/srv/test"))


def test_no_two_things_are_in_one_place():
    layout = system_layout()
    paths = [getattr(layout, name) for name in (*FOLDERS, *PATHS)]
    assert len(paths) == len(set(paths))


def test_all_but_a_few_known_files_are_inside_the_site_s_own_folders():
    layout = system_layout()
    own = [getattr(layout, folder) for folder in FOLDERS]
    outside = {name for name in PATHS if not any(getattr(layout, name).is_relative_to(folder) for folder in own)}
    assert outside == OF_THE_MACHINE


def test_the_cache_is_on_the_file_system_of_the_environments():
    """So that packages can be hard links."""
    layout = system_layout()
    assert layout.cache.parent == layout.envs.parent == layout.program


def test_a_server_s_folder_cannot_be_named_out_of_its_place():
    layout = personal_layout(HOME)
    assert layout.server_run("alice", "") == layout.servers_run / "alice/_"
    assert layout.server_run("alice", "gpu") == layout.servers_run / "alice/gpu"
    for person, server in (("../root", ""), ("alice", ".."), ("alice", "a/b")):
        with pytest.raises(BadName):
            layout.server_run(person, server)


def test_the_sockets_of_root_s_site_fit_into_an_address():
    """sun_path has 108 bytes (unix(7)), and person and server are up to 32 and 30 characters long."""
    layout = system_layout()
    longest = layout.server_run("a" * 32, "b" * 30) / "server.sock"
    assert (
        max(len(str(path)) for path in (longest, layout.hub_socket, layout.proxy_api_socket, layout.warden_socket))
        < 108
    )
