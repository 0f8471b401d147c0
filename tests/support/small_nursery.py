"""`PYTHON -Xfrozen_modules=off -m manylab.warm.main.kernel small_nursery.py SOCKET MODULES...`: kernels without a site.

What `manylab.warm.nursery` does, for one account and without the warden: whoever connects gets a kernel.
Says `ready` on its standard output, and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any


def main(argv: list[str]) -> Callable[[], None]:
    """Serve; returns in each child what it has to do."""
    path, *modules = argv[1:]
    warm: dict[str, Any] = {name: importlib.import_module(f"manylab.warm.{name}") for name in _PARTS}
    warm["memory"].before()
    warm["kernels"].prepare(modules)
    warm["preload"].check()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    warm["memory"].after()
    connections: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                with connections.pop(pid) as connection, contextlib.suppress(OSError):
                    connection.send(json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n")

    print("ready", flush=True)
    while True:
        if sys.stdin.fileno() in select.select([listener, sys.stdin], [], [])[0]:
            sys.exit(0)
        connection, _ = listener.accept()
        # A child that ends at once is not waited for before it is known.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            listener.close()
            for other in connections.values():
                other.close()
            return lambda: serve(connection, warm)
        connections[pid] = connection
        signal.signal(signal.SIGCHLD, reap)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


_PARTS = ("identity", "kernels", "memory", "preload", "renew", "wire")


def serve(connection: socket.socket, warm: dict[str, Any]) -> None:
    """As `manylab.warm.callers`, without becoming somebody."""
    identity, kernels, renew, wire = (warm[name] for name in ("identity", "kernels", "renew", "wire"))
    identity.fresh_process({connection.fileno()})
    identity.end_early(identity.KERNEL_OOM_SCORE)
    renew.after_fork()
    conversation = wire.Conversation(connection)
    request, given = conversation.receive(descriptors=3)
    if (reason := kernels.why_cold(request)) is not None:
        with contextlib.suppress(OSError):
            conversation.send({"cold": reason})
        os._exit(1)
    kernels.become(request, given, connection)
