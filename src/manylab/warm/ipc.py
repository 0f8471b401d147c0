"""Two parts of ipykernel that do not fit here, replaced in warm and cold kernels alike.

What forked children print reaches the kernel over a TCP port of its own, open to every account of the machine, although
all its other sockets are files in a private folder: it becomes one, too. And the kernel ends when its parent does,
which for a warm kernel is the nursery: it looks at its server instead.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import time
from pathlib import Path
from typing import Any

_SUFFIX = "-p"  # the other sockets end in -1 to -5, which is as long


def patch() -> None:
    """Call when ipykernel can be imported, before a kernel is made."""
    _forked_output(importlib.import_module("ipykernel.iostream"))
    poller = importlib.import_module("ipykernel.parentpoller")
    poller.ParentPollerUnix.run = _watch_server


def _forked_output(iostream: Any) -> None:
    thread, zmq = iostream.IOPubThread, iostream.zmq
    tcp_in, tcp_out = thread._setup_pipe_in, thread._setup_pipe_out

    def setup_pipe_in(self: Any) -> None:
        endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT) if hasattr(self.socket, "getsockopt") else b""
        if not endpoint.startswith(b"ipc://"):
            tcp_in(self)
            return
        self._pipe_uuid = os.urandom(16)
        pipe_in = self.socket.context.socket(zmq.PULL)
        pipe_in.linger = 0
        self._pipe_port = os.fsdecode(endpoint).rstrip("\0").rpartition("-")[0] + _SUFFIX
        try:
            pipe_in.bind(self._pipe_port)
        except zmq.ZMQError as error:
            iostream.warnings.warn(f"what forked children print will not be seen: {error}", stacklevel=2)
            self._pipe_flag = False
            pipe_in.close()
            return
        self._pipe_in = iostream.ZMQStream(pipe_in, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def setup_pipe_out(self: Any) -> tuple[Any, Any]:
        if not isinstance(self._pipe_port, str):
            return tcp_out(self)  # type: ignore[no-any-return]
        context = zmq.Context()
        pipe_out = context.socket(zmq.PUSH)
        pipe_out.linger = 3000
        pipe_out.connect(self._pipe_port)
        return context, pipe_out

    thread._setup_pipe_in, thread._setup_pipe_out = setup_pipe_in, setup_pipe_out


def _watch_server(self: Any) -> None:
    """ParentPollerUnix.run: ends the kernel when its server is gone."""
    wait_for_end(self.parent_pid)
    os._exit(1)


def wait_for_end(pid: int) -> None:
    """Until the process is gone. Looks every second where it cannot be told."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # a filter of system calls that does not know it
        began = _began(pid)
        while began is not None and _began(pid) == began:
            time.sleep(1.0)
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll():
            pass
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _began(pid: int) -> str | None:
    """When that process began, which no later one of the same number shares."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
