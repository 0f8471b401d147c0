"""The nursery: one thread that has imported everything, waits for connections and forks. Reads nothing that is sent.

`python .../nursery.py SPEC`, by launch.py. SPEC, JSON: {"name", "kind": "server" | "kernel", "modules": [...],
"peers": uid or null (anybody from min_uid on), "min_uid": int, "refuse": [uids], "warden": socket path}. Descriptor 3
is a bound socket (not listening: until this process is ready a connection is refused, and the start is a cold one),
4 the line to the warden: one JSON object a message (SOCK_SEQPACKET), {"ready": true} and {"exit": pid, "status": n}.
When the warden closes its end, no more connections are taken; the process ends with its last child.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__" and not sys.flags.isolated:
    # A kernel has to look like one that was started without -I: there is nothing of manylab on its path. `main` knows
    # how to be found and to go unnoticed.
    _FILE = Path(__file__).resolve()
    _OPTIONS = [f"-X{name}={value}" for name, value in sys._xoptions.items()]
    os.chdir(_FILE.parents[2])
    _MAIN = ("-m", "manylab.warm.main.kernel")
    os.execv(sys.orig_argv[0], [sys.orig_argv[0], *_OPTIONS, *_MAIN, str(_FILE), *sys.argv[1:]])  # noqa: S606

from manylab.warm import capabilities, guests, memory, preload, process, wire

LISTENER: Final = 3
CONTROL: Final = 4
_BACKLOG: Final = 1024

Work = Callable[[], None]


@dataclass
class Child:
    """One fork. connection: where its exit is told, for kernels. proven: it became what was asked for."""

    uid: int
    connection: socket.socket | None
    proven: bool = False


class Nursery:
    """The loop. `run` returns in a child only, with what the child has to do."""

    def __init__(
        self, spec: dict[str, Any], serve: preload.Serve, listener: socket.socket, control: socket.socket
    ) -> None:
        self.spec = spec
        self.serve = serve
        self.listener: socket.socket | None = listener
        self.control: socket.socket = control
        self.retired = False
        # Every kernel of everybody has a connection here. Children have the limit that they would have elsewhere.
        self._files = process.more_files()
        self.children: dict[int, Child] = {}
        self._guests = guests.Guests(spec)
        self._wake_read, self._wake_write = socket.socketpair()
        # Children say on this one, before they lose their power, that they were vouched for; 4 bytes, their pid.
        self._proof_read, self._proof_write = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._wake_read, self._wake_write, self._proof_read, listener, control):
            end.setblocking(False)

    def run(self) -> Work:
        """Serve until the last child is gone; never returns in the nursery itself."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        assert self.listener is not None
        self.listener.listen(_BACKLOG)
        self._tell({"ready": True})
        while True:
            ready = self._wait()
            if self._wake_read.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(4096)
            self._reap()
            if self._proof_read.fileno() in ready:
                self._hear_proofs()
            if not self.retired and self.control.fileno() in ready:
                self._hear_control()
            if self.listener is None and not self.children:
                os._exit(0)
            if self.listener is not None and self.listener.fileno() in ready and (work := self._accept()) is not None:
                return work

    def _wait(self) -> set[int]:
        poll = select.poll()
        for end in (self._wake_read, self._proof_read, None if self.retired else self.control, self.listener):
            if end is not None:
                poll.register(end.fileno(), select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll()}

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.control.send(json.dumps(message).encode())

    def _hear_control(self) -> None:
        """Only its end means something: no more children. How they end is told as long as somebody listens."""
        with contextlib.suppress(OSError):
            if self.control.recv(4096):
                return
        self.retired = True
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def _hear_proofs(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                child = self.children.get(int.from_bytes(self._proof_read.recv(4), "little"))
                if child is not None and not child.proven:
                    child.proven = True
                    self._guests.proven(child.uid)

    def _reap(self) -> None:
        while True:
            try:
                pid, raw = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            status = os.waitstatus_to_exitcode(raw)
            child = self.children.pop(pid, None)
            if child is None:
                continue
            self._guests.ended(child.uid)
            if not child.proven:
                self._guests.proven(child.uid)
            self._tell({"exit": pid, "status": status})
            if child.connection is not None:
                with contextlib.suppress(OSError):
                    child.connection.send(json.dumps({"exit": status}).encode() + b"\n", socket.MSG_DONTWAIT)
                child.connection.close()

    def _accept(self) -> Work | None:
        assert self.listener is not None
        try:
            connection, _ = self.listener.accept()
        except OSError:  # it went away, or there are no descriptors left: the others are served first
            return None
        peer = wire.peer_of(connection)
        if not self._guests.may_have_another(peer.uid):
            connection.close()
            return None
        try:
            pid = os.fork()
        except OSError as error:
            # No more processes or no memory: said, so that the other end need not wait.
            with contextlib.suppress(OSError):
                answer = {"reason": "start-failed", "message": f"no process can be had: {error.strerror}"}
                connection.send(json.dumps(answer).encode() + b"\n", socket.MSG_DONTWAIT)
            connection.close()
            return None
        if pid == 0:
            return self._in_child(connection, peer)
        keep = self.spec["kind"] == "kernel"
        self.children[pid] = Child(peer.uid, connection if keep else None)
        self._guests.began(peer.uid)
        if not keep:
            connection.close()
        return None

    def _in_child(self, connection: socket.socket, peer: wire.Peer) -> Work:
        signal.set_wakeup_fd(-1)
        # Descriptors of other people's connections end here, before anything else is done.
        keep = {connection.fileno(), self._proof_write.fileno()}
        ours: list[socket.socket | None]
        ours = [self._wake_read, self._wake_write, self._proof_read, self.control, self.listener]
        ours += [child.connection for child in self.children.values()]
        for end in ours:
            if end is not None and end.fileno() not in keep:
                end.close()
        self.children.clear()
        self._guests.forget()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        proof, spec = self._proof_write, self.spec

        def prove() -> None:
            with contextlib.suppress(OSError):
                proof.send(os.getpid().to_bytes(4, "little"), socket.MSG_DONTWAIT)
            proof.close()

        connection.setblocking(True)
        serve = self.serve
        return lambda: serve(wire.Conversation(connection), peer, spec, prove)


def main(arguments: list[str]) -> Work:
    """Get ready, serve, and return in each child what it has to do."""
    spec = json.loads(arguments[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if held := capabilities.permitted():
        capabilities.nothing_over_exec()
        # Not in effect while packages are imported; a child puts them in effect when it needs them.
        capabilities.put((), held & capabilities.NURSERY)
    capabilities.dumpable(False)
    listener = socket.socket(fileno=LISTENER)
    control = socket.socket(fileno=CONTROL)
    for end in (LISTENER, CONTROL):
        os.set_inheritable(end, False)
    # It has no children yet that would have to be reaped: one that nobody waits for any more does not go on importing.
    capabilities.end_with_parent(signal.SIGKILL)
    if _closed(control):
        os._exit(0)  # the warden ended before that
    memory.before()
    serve = preload.prepare(spec)
    preload.check()
    nursery = Nursery(spec, serve, listener, control)
    memory.after()
    capabilities.end_with_parent(0)
    return nursery.run()


def _closed(end: socket.socket) -> bool:
    """Whether nobody is at the other end."""
    poll = select.poll()
    poll.register(end.fileno(), select.POLLIN)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


if __name__ == "__main__":
    # The loop's frames are gone when the child begins its work: an end of it is an end of the program.
    main(sys.argv)()
