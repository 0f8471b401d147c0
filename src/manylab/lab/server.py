"""Runs one person's server. The same function serves a cold start (`__main__`) and the child of a nursery."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

# The extension and nothing else of jupyterhub.singleuser: its `app` patches handler classes, and then pages answer 500.
from jupyterhub.singleuser.extension import JupyterHubSingleUser
from traitlets.config import Config

from manylab.lab import config, folders


def run(environ: Mapping[str, str]) -> NoReturn:
    """Serves until told to stop, then ends the process.

    environ: the whole environment of the server; it replaces this process's own, which in a nursery's child is somebody
    else's. Needed in it: MANYLAB_SOCKET (where to listen), JUPYTER_RUNTIME_DIR, HOME, and what JupyterHub gives a
    server (JUPYTERHUB_*). Used when there: SHELL, MANYLAB_DEFAULT_URL, MANYLAB_DEFAULT_KERNEL, JUPYTER_DATA_DIR,
    JUPYTERLAB_SETTINGS_DIR, JUPYTERLAB_WORKSPACES_DIR.
    """
    os.environ.clear()
    os.environ.update(environ)
    home = Path(environ["HOME"])
    os.chdir(home)
    os.environ.update(
        folders.prepare(environ, home, lambda line: print(f"[manylab] {line}", file=sys.stderr, flush=True))
    )
    remove_stale_socket(Path(environ["MANYLAB_SOCKET"]))
    wanted = Config(config.settings(os.environ, home=home, prefix=Path(sys.prefix)))
    # Like JupyterHubSingleUser.launch_instance, with a configuration object in place of a command line: what is given
    # here wins over every configuration file, and no secret or path is in argv.
    server = JupyterHubSingleUser.initialize_server(argv=[], config=wanted)
    server.start()
    sys.exit(0)


def remove_stale_socket(path: Path) -> None:
    """Removes a socket nobody listens on; one that is in use is left, and the server then refuses to start."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
