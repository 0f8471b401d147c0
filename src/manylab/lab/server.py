"""Runs one person's server. The same function serves a cold start (`__main__`) and the child of a nursery."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import locale
import os
import shutil
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from jupyter_server.serverapp import ServerApp
from traitlets.config import Config

from manylab.lab import (
    activity,
    applications,
    bodies,
    config,
    contents,
    exports,
    folders,
    languages,
    memory,
    own,
    packed,
    provisioner,
    pulling,
    singleuser,
    usage,
)
from manylab.warm import process, wire

BACKLOG = 4096  # connections; the kernel takes no more than net.core.somaxconn


def run(environ: Mapping[str, str]) -> NoReturn:
    """Serves until told to stop, then ends the process.

    environ: the whole environment of the server; it replaces this process's own, which in a nursery's child is somebody
    else's. Needed in it: MANYLAB_SOCKET (where to listen), HOME, and what JupyterHub gives a server (JUPYTERHUB_*).
    Used when there: SHELL, and what `own` and `config.settings` read. MANYLAB_READY_FD: a descriptor that is told when
    the server listens.
    """
    ready = ready_descriptor(environ.get(wire.READY_VARIABLE, ""))
    server = build(environ)
    if ready is not None:
        # Callbacks run in the order they were added, and the server has just added the one that makes it listen.
        server.io_loop.add_callback(wait_longer, server)
        server.io_loop.add_callback(tell_ready, ready)
    server.start()
    sys.exit(0)


def build(environ: Mapping[str, str], **more: Mapping[str, Any]) -> ServerApp:
    """The server, ready to start, in a process that has become `environ`'s. more: further settings, class by class."""
    mine, theirs = own.separate(environ)
    process.environment(theirs)
    # A nursery's child has one from before it had this environment.
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "")
    home = Path(environ["HOME"])
    os.chdir(home)
    found = folders.prepare(mine, home, lambda line: print(f"[manylab] {line}", file=sys.stderr, flush=True))
    own.use({**mine, **found})
    remove_stale_socket(Path(environ["MANYLAB_SOCKET"]))
    wanted = Config(config.settings(own.environ, home=home, prefix=Path(sys.prefix)))
    wanted.merge(Config(exports.offered(shutil.which, importlib.util.find_spec)))
    wanted.merge(Config({name: dict(traits) for name, traits in more.items()}))
    provisioner.register()
    usage.use()
    languages.use()
    ask_no_yarn()
    singleuser.SiteServer.load_other_extensions = singleuser.load_other_extensions()
    singleuser.take_tokens_of_websockets()
    # Like JupyterHubSingleUser.launch_instance, with a configuration object in place of a command line: what is given
    # here wins over every configuration file, and no secret or path is in argv.
    server = singleuser.SiteServer.initialize_server(argv=[], config=wanted)
    own.forget_what_imports_set(theirs)
    server.web_app.settings["websocket_max_message_size"] = config.largest_message(memory.meter().limit())
    pulling.guard()
    applications.guard()
    activity.note_messages()
    packed.use(server.web_app)
    known = bodies.known_to(server.identity_provider.hub_auth, server.web_app.settings["cookie_secret"])
    bodies.guard(server.http_server, known)
    contents.empty_daily(server, home, own.environ)
    return server


def ask_no_yarn() -> None:
    """When it is imported JupyterLab has node, where there is one, say which registry JavaScript packages are fetched
    from, for half a second. Nothing is fetched: here extensions come ready-made.
    """
    commands: Any = importlib.import_module("jupyterlab.commands")
    commands._yarn_config = lambda _: {"yarn config": {}, "npm config": {}}


def wait_longer(server: Any) -> None:
    """Let more connections wait to be accepted than Jupyter's 128: one that does not find room is a "503" at once."""
    for listening in getattr(server.http_server, "_sockets", {}).values():
        listening.listen(BACKLOG)


def ready_descriptor(text: str) -> int | None:
    """The descriptor of MANYLAB_READY_FD, which no kernel or terminal inherits; None where there is none."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        os.set_inheritable(descriptor := int(text), False)
        return descriptor
    return None


def tell_ready(descriptor: int) -> None:
    """Says that this server listens to whoever waits for it; one who went away in the meantime is no trouble."""
    with contextlib.suppress(OSError):
        os.write(descriptor, wire.READY.encode() + b"\n")
    with contextlib.suppress(OSError):
        os.close(descriptor)


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
