"""One nursery: a process that forks, and its line to the warden."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from manylab.warden.facts import Facts
from manylab.warden.settings import Nursery as Spec
from manylab.warden.settings import Settings
from manylab.warm.launch import ENVIRONMENT
from manylab.warm.scratch import VARIABLE as SCRATCH

_EXIT: Final = 2.0  # seconds for a nursery to say how its child ended
_MESSAGE: Final = 4096


class Nursery:
    """One process that forks. `ready` once its socket takes connections; `ended` when it is gone; `old` when the
    machine is no longer as it was when this was begun (`facts`).

    plain: without the functions among its modules.
    """

    def __init__(self, spec: Spec, path: Path, *, plain: bool = False) -> None:
        self.spec = spec
        self.path = path
        self.plain = plain
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.retired = False
        self.old = asyncio.Event()
        self.facts: Facts | None = None  # from its start on
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def facts_now(self) -> Facts:
        """What the machine is like now, for one like this."""
        return Facts(Path(self.spec.command[0]))

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self, settings: Settings, place: Path) -> None:
        """Bind the socket, where only root can, and start the process. Raises OSError."""
        self.facts = self.facts_now()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._bind(listener)
            uid, gid = _account(settings)
            scratch = self._make_scratch(uid, gid)
            trusted = os.geteuid() if self.spec.kind == "server" else None
            said = {
                "name": self.spec.name,
                "kind": self.spec.kind,
                "modules": [name for name in self.spec.modules if not (self.plain and ":" in name)],
                "peers": trusted if settings.person_uid is None else os.geteuid(),
                "min_uid": settings.min_uid,
                "refuse": [settings.hub_uid, uid, 65534],
                "warden": str(place),
            }
            # Not in the environment of `launch`, which is root's: LD_LIBRARY_PATH may be among them.
            said_to_it = json.dumps(dict(self.spec.environment))
            launch = (str(settings.python), "-I", "-m", "manylab.warm.launch")
            numbers = (str(uid), str(gid), str(listener.fileno()), str(theirs.fileno()))
            self._process = subprocess.Popen(
                (*launch, *numbers, "--", *self.spec.command, json.dumps(said)),
                stdin=subprocess.DEVNULL,
                stdout=2,
                stderr=2,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", SCRATCH: str(scratch), ENVIRONMENT: said_to_it},
                pass_fds=(listener.fileno(), theirs.fileno()),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            self.path.unlink(missing_ok=True)
            raise
        finally:
            listener.close()
            theirs.close()
        self.listen(ours)

    def listen(self, control: socket.socket) -> None:
        """Hear on this line what the process says; its end is the nursery's."""
        control.setblocking(False)
        self._control = control
        asyncio.get_running_loop().add_reader(control, self._hear)

    def _bind(self, listener: socket.socket) -> None:
        before = os.umask(0o077)
        try:
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        # Kernels are asked for by people's servers; who may have one is decided by what the kernel says of the peer.
        self.path.chmod(0o600 if self.spec.kind == "server" else 0o666)

    def _make_scratch(self, uid: int, gid: int) -> Path:
        """Where the process may write while it gets ready; removes what others of its name, who were killed, left."""
        for left in self.path.parent.glob(".*.d"):
            if re.fullmatch(rf"\.{re.escape(self.spec.name)}-[0-9a-f]{{8}}\.d", left.name):
                shutil.rmtree(left, ignore_errors=True)
        scratch = self.path.with_name(self.path.name + ".d")
        scratch.mkdir(mode=0o700)
        if uid != 0:
            os.chown(scratch, uid, gid)
        return scratch

    def _hear(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(data)
            if said.get("ready") is True:
                self.ready.set()
            elif "exit" in said:
                # Most are kernels, and nobody asks the warden how those ended.
                future = self._exits.get(int(said["exit"]))
                if future is not None and not future.done():
                    future.set_result(int(said["status"]))

    def _gone(self) -> None:
        assert self._control is not None
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._control = None
        self.path.unlink(missing_ok=True)
        self.ended.set()
        for future in self._exits.values():
            future.cancel()

    def expect(self, pid: int) -> None:
        """Remember how this child ends, for `exit_of`. Call before it gets its order: one without ends unheard."""
        self._exits[pid] = asyncio.get_running_loop().create_future()

    def forget(self, pid: int) -> None:
        """Nobody will ask how this child ended."""
        self._exits.pop(pid, None)

    async def exit_of(self, pid: int) -> int | None:
        """How this child ended, negative for a signal; None when nobody knows (the nursery is gone)."""
        future = self._exits.get(pid)
        if future is None:
            return None
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(future), _EXIT)
        self._exits.pop(pid, None)
        return future.result() if future.done() and not future.cancelled() else None

    def connect(self) -> socket.socket | None:
        """A connection that a new child will answer; None when there is no such nursery now."""
        if not self.ready.is_set() or self.ended.is_set() or self.retired:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(self.path))
        except OSError:  # BlockingIOError: more wait than its queue holds
            connection.close()
            return None
        return connection

    def retire(self) -> None:
        """No more children; those that are there go on, and the process with them, to tell how they end."""
        if not self.retired:
            self.retired = True
            self.path.unlink(missing_ok=True)
            if self._control is not None:
                with contextlib.suppress(OSError):
                    self._control.shutdown(socket.SHUT_WR)

    def reap(self) -> bool:
        """Whether the process is gone, and waited for."""
        return self._process is None or self._process.poll() is not None


def _account(settings: Settings) -> tuple[int, int]:
    """uid and gid to become; 0 to stay what we are (a site of one ordinary user)."""
    if os.geteuid() != 0 or settings.nursery_uid is None:
        return 0, 0
    return settings.nursery_uid, pwd.getpwuid(settings.nursery_uid).pw_gid
