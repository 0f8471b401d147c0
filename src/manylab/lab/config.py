"""Settings every person's server gets. Pure: data in, data out; `server.run` gives them to Jupyter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ACTIVITY = "manylab.lab.activity"
# Bytes in sockaddr_un.sun_path without the closing zero (unix(7)), and in "/k12345678-5" (kernels.py).
MAX_SOCKET = 107
SOCKET_NAME = 12
# Bytes in one message of a browser to a kernel (the state of a large widget, a cell with data in it). With tornado's
# own 10 MiB the connection ends without a word. A server needs six times as much for a moment, a kernel more.
MAX_MESSAGE = 256 * 1024 * 1024
LEAST_MESSAGE = 16 * 1024 * 1024
# Traits of jupyterhub.services.auth.HubAuth whose defaults are worked out at import, and from what.
HUB_AUTH = {
    "base_url": "JUPYTERHUB_SERVICE_PREFIX",
    "api_url": "JUPYTERHUB_API_URL",
    "keyfile": "JUPYTERHUB_SSL_KEYFILE",
    "certfile": "JUPYTERHUB_SSL_CERTFILE",
    "client_ca": "JUPYTERHUB_SSL_CLIENT_CA",
}
# manylab's own extension of the Lab, and what it stands for.
OWN_EXTENSIONS = Path(__file__).with_name("labextensions")
REPLACED = ("@jupyterlab/hub-extension:connectionlost",)
# Extensions of the Lab that are nothing without a program of the machine's.
PROGRAMS = {"@jupyterlab/git": "git"}


def settings(environ: Mapping[str, str], *, home: Path, prefix: Path) -> dict[str, dict[str, Any]]:
    """By class and trait. prefix: the server environment.

    Paths are given, never left to Jupyter's defaults: some of those are worked out when a module is imported, and in a
    child of a nursery that was under another account.
    """
    user_settings = environ.get("JUPYTERLAB_SETTINGS_DIR", str(home / ".jupyter/lab/user-settings"))
    workspaces = environ.get("JUPYTERLAB_WORKSPACES_DIR", str(home / ".jupyter/lab/workspaces"))
    return {
        "ServerApp": {
            "sock": environ["MANYLAB_SOCKET"],
            # The proxy and the hub are in the socket's group (the folder is setgid); nobody else can enter the folder.
            "sock_mode": "0660",
            # The warden has set it, and pam_limits may have the last word.
            "min_open_files_limit": None,
            "root_dir": str(home),
            "default_url": environ.get("JUPYTERHUB_DEFAULT_URL") or environ.get("MANYLAB_DEFAULT_URL") or "/lab",
            # Root's mistakes are root's: this server never runs as root, and says so rather than serving.
            "allow_root": False,
            # Where the hub and the person's browser are is decided; nothing to open, nothing to print.
            "open_browser": False,
            "jpserver_extensions": {ACTIVITY: True},
            # Jupyter Server's own default (90 s) is longer than the interval and gives a warning per connection.
            "websocket_ping_timeout": 30000,
            "contents_manager_class": "manylab.lab.contents.Contents",
            "kernel_spec_manager_class": "manylab.lab.kernels.SiteKernelSpecs",
            "kernel_websocket_connection_class": "manylab.lab.endings.ExplainingConnection",
            # A login shell: Debian's /etc/profile sets PATH anew and then runs profile.d/manylab.sh, which puts the
            # user environment first again.
            "terminado_settings": {"shell_command": [shell(environ), "-l"]},
        },
        "HubAuth": hub_auth(environ),
        "Session": {"username": environ.get("USER") or "username"},
        "KernelSpecManager": {
            # The server's own Python is not for people's code.
            "ensure_native_kernel": False,
        },
        # Kernels of the site's environments are forked (`provisioner`); kernel.json says nothing of it, for nbconvert.
        "KernelProvisionerFactory": {"default_provisioner_name": "manylab"},
        "MappingKernelManager": {
            "default_kernel_name": environ.get("MANYLAB_DEFAULT_KERNEL", "python3"),
            "kernel_manager_class": "manylab.lab.kernels.SocketKernelManager",
            # Where a kernel says that it can (CurveZMQ), others cannot read what it sends over TCP either.
            "transport_encryption": "auto",
        },
        "ContentsManager": {"allow_hidden": False},
        # These two belong together: without a trash (servers.trash = "0s") a folder is deleted with what is in it.
        # By the name of our own class: JupyterHub's extension turns the trash of FileContentsManager off.
        "Contents": {"delete_to_trash": environ.get("MANYLAB_TRASH") != "0", "always_delete_dir": True},
        # Reads every process of the person once a second, in every server, for a page that nobody collects.
        "ResourceUseDisplay": {"enable_prometheus_metrics": False},
        # Told, not searched for: to look for the twenty that are not there takes a tenth of a second in every server.
        "LanguageServerManager": {"autodetect": False, "language_servers": {"pylsp": language_server()}},
        "LabApp": {
            "user_settings_dir": user_settings,
            "workspaces_dir": workspaces,
            # Front-end extensions only from the server environment, and the widgets of the site's environments: one in
            # ~/.local that fits another JupyterLab leaves its owner with an empty page.
            "labextensions_path": [str(prefix / "share/jupyter/labextensions")],
            "extra_labextensions_path": [
                *(f"{path}/labextensions" for path in environ.get("JUPYTER_PATH", "").split(os.pathsep) if path),
                str(OWN_EXTENSIONS),
            ],
            # Shows what is installed and installs nothing: the server environment is not writable for people.
            "extension_manager": "readonly",
            # Belongs to it: the Plugin Manager would switch parts of the Lab on and off there, and fail.
            "lock_all_plugins": True,
            # No requests to jupyter.org from everybody's server, and no pop-up about news. What is newer here is told.
            "news_url": None,
            "check_for_updates_class": "manylab.lab.newer.NewerServer",
        },
    }


def hub_auth(environ: Mapping[str, str]) -> dict[str, Any]:
    """What JupyterHub reads when `services.auth` is imported; in a nursery, nobody's environment is known by then.

    Without base_url the cookie with a person's token has the path "/", and the browser shows it to everybody's server.
    """
    found: dict[str, Any] = {trait: environ[name] for trait, name in HUB_AUTH.items() if environ.get(name)}
    if token_in_url := environ.get("JUPYTERHUB_ALLOW_TOKEN_IN_URL"):
        found["allow_token_in_url"] = token_in_url.lower() not in ("0", "false")
    return found


def language_server() -> dict[str, Any]:
    """The language server for Python, which starts when somebody opens a Python file. It looks into the environment
    that [env] names for new notebooks (`model.jupyter`).
    """
    return {
        "argv": [sys.executable, "-I", "-m", "pylsp"],
        "display_name": "pylsp",
        "languages": ["python"],
        "mime_types": ["text/python", "text/x-ipython"],
        # pylsp needs none: no folder .virtual_documents with copies of notebooks in people's homes.
        "requires_documents_on_disk": False,
        "version": 2,
    }


def without_a_program(find: Callable[[str], object]) -> list[str]:
    """Extensions of the Lab to leave out: each would open a dialog about its program that is not there, in the way of
    whoever has just come in, every time. find: shutil.which.
    """
    return [name for name, program in PROGRAMS.items() if not find(program)]


def transport(environ: Mapping[str, str]) -> str:
    """Unix sockets, or TCP where the folder's name (a long MANYLAB_ROOT) leaves no room for a socket's name."""
    return "ipc" if len(os.fsencode(environ.get("JUPYTER_RUNTIME_DIR", ""))) + SOCKET_NAME <= MAX_SOCKET else "tcp"


def largest_message(memory: int | None) -> int:
    """Bytes that a browser may send to a kernel at once. memory: the server's limit, None where there is none."""
    return MAX_MESSAGE if memory is None else max(LEAST_MESSAGE, min(MAX_MESSAGE, memory // 8))


def shell(environ: Mapping[str, str]) -> str:
    """The person's shell; bash for accounts that have none to sign in with (their terminal would end at once)."""
    own = environ.get("SHELL", "")
    if not own.startswith("/") or own.rpartition("/")[2] in ("nologin", "false", "sync"):
        return "/bin/bash"
    return own
