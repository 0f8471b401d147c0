"""Starts JupyterHub for one site: `python -I -m manylab.hub /path/hub.json`. Runs as the hub's own account."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from manylab.base.errors import ManylabError
from manylab.hub import settings
from manylab.hub.app import ManylabHub
from manylab.hub.lookup import authenticator_class
from manylab.warm import process

CONFIG_FILE = Path(__file__).with_name("jupyterhub_config.py")


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print("usage: python -I -m manylab.hub HUB_JSON", file=sys.stderr)
        return 2
    path = Path(argv[0]).absolute()
    try:
        site = settings.read(path)
        # Again in configure(); here its error is a sentence and not a traceback.
        authenticator_class(site.authenticator, site.bind_url)
    except ManylabError as error:
        print(f"{error.code}: {error.message}\n{error.hint}", file=sys.stderr)
        return 1
    # A shell that starts a job in the background makes it ignore SIGINT; the hub must be able to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Everybody who is signed in has connections through here, and 1024 is what systemd gives at first.
    process.more_files()
    # Nobody else reads the database, the cookie secret or anything else the hub makes.
    os.umask(0o077)
    # JupyterHub writes what has no path of its own into the working directory.
    os.chdir(site.state)
    # JupyterHub runs `alembic` by its bare name when it upgrades the database.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    # jupyterhub_config.py is executed by JupyterHub without arguments; this is how it learns which file to read.
    os.environ["MANYLAB_HUB_JSON"] = str(path)
    ManylabHub.launch_instance(["-f", str(CONFIG_FILE)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
