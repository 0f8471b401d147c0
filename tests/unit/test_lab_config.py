"""Settings of a person's server. Nothing here needs Jupyter."""

import os
import socket
from pathlib import Path

import pytest

from manylab.lab import config

ENVIRON = {"MANYLAB_SOCKET": "/run/manylab/servers/alice/_/server.sock", "SHELL": "/bin/zsh"}


def settings(**more):
    return config.settings({**ENVIRON, **more}, home=Path("/home/alice"), prefix=Path("/opt/server"))


def test_the_server_listens_where_it_is_told_and_shows_the_home():
    assert settings()["ServerApp"]["sock"] == ENVIRON["MANYLAB_SOCKET"]
    assert settings()["ServerApp"]["root_dir"] == "/home/alice"


def test_paths_in_the_home_are_given_and_not_left_to_what_was_true_at_import():
    assert settings()["LabApp"]["user_settings_dir"] == "/home/alice/.jupyter/lab/user-settings"
    assert settings(JUPYTERLAB_SETTINGS_DIR="/x")["LabApp"]["user_settings_dir"] == "/x"


def test_front_end_extensions_come_from_the_server_environment_and_the_site():
    assert settings()["LabApp"]["labextensions_path"] == ["/opt/server/share/jupyter/labextensions"]
    assert settings()["LabApp"]["extra_labextensions_path"] == [str(config.OWN_EXTENSIONS)]
    site = settings(JUPYTER_PATH="/opt/manylab/share/jupyter")
    assert site["LabApp"]["extra_labextensions_path"][:-1] == ["/opt/manylab/share/jupyter/labextensions"]


@pytest.mark.parametrize(
    ("shell", "used"),
    [("/bin/zsh", "/bin/zsh"), ("/usr/sbin/nologin", "/bin/bash"), ("/bin/false", "/bin/bash"), ("", "/bin/bash")],
)
def test_a_terminal_is_a_login_shell_that_exists(shell, used):
    assert settings(SHELL=shell)["ServerApp"]["terminado_settings"]["shell_command"] == [used, "-l"]


def test_kernels_use_unix_sockets_unless_their_names_would_be_too_long():
    longest = f"/run/manylab/servers/{'a' * 32}/{'b' * 30}/jupyter"
    assert config.transport({"JUPYTER_RUNTIME_DIR": longest}) == "ipc"
    assert config.transport({"JUPYTER_RUNTIME_DIR": longest + "/0123456789"}) == "tcp"


def test_a_message_to_a_kernel_fits_into_the_servers_memory():
    assert [config.largest_message(limit) >> 20 for limit in (None, 64 << 30, 1 << 30, 1 << 20)] == [256, 256, 128, 16]


def test_a_kernels_sockets_have_names_that_fit():
    pytest.importorskip("jupyter_server")
    from manylab.lab.kernels import short_ipc

    folder = Path(f"/run/manylab/servers/{'a' * 32}/{'b' * 30}/jupyter")
    path = short_ipc(folder / "kernel-8ebcd4cc-bb77-49f0-b386-5e25e841e637.json")
    assert path == str(folder / "k8ebcd4cc")
    assert len(f"{path}-5") <= config.MAX_SOCKET


def test_a_stale_socket_is_removed_and_one_in_use_is_left(tmp_path):
    pytest.importorskip("jupyterhub.singleuser.extension")
    from manylab.lab.server import remove_stale_socket

    stale, used, file = tmp_path / "stale", tmp_path / "used", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(os.fspath(stale))
    file.write_text("not a socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(used))
        listening.listen()
        for path in (stale, used, file, tmp_path / "none"):
            remove_stale_socket(path)
        assert not stale.exists()
        assert used.exists()
    assert file.exists()


def test_a_cookie_is_for_the_server_of_its_owner_alone():
    found = settings(JUPYTERHUB_SERVICE_PREFIX="/user/alice/", JUPYTERHUB_ALLOW_TOKEN_IN_URL="0", USER="alice")
    assert found["HubAuth"] == {"base_url": "/user/alice/", "allow_token_in_url": False}
    assert found["Session"] == {"username": "alice"}
    assert settings()["HubAuth"] == {}


def test_an_extension_whose_program_is_not_there_is_left_out():
    assert config.without_a_program(lambda name: None) == ["@jupyterlab/git"]
    assert config.without_a_program(lambda name: f"/usr/bin/{name}") == []


def test_the_language_server_needs_no_copies_of_notebooks_in_a_home():
    assert settings()["LanguageServerManager"]["language_servers"]["pylsp"]["requires_documents_on_disk"] is False
