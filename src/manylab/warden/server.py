"""The warden's socket: one connection, one question, one answer. Nothing a peer sends can stop it or hold up others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from manylab.base.errors import ConfigError
from manylab.warden import accounts, folders, messages, processes, settings
from manylab.warden.login import Login
from manylab.warden.messages import Authenticate, BadMessage, List, Message, Refusal, Start, Status, Stop, StopAll
from manylab.warden.nurseries import Nurseries
from manylab.warden.pam import Pam
from manylab.warden.registry import Registry
from manylab.warden.room import Room
from manylab.warden.servers import Servers
from manylab.warden.sessions import Sessions
from manylab.warden.settings import Settings
from manylab.warm import wire

log = logging.getLogger("manylab.warden")

Serve = Callable[[wire.Peer, asyncio.StreamReader], Awaitable[dict[str, Any]]]

_COMPLETE: Final = 5.0  # seconds for a whole question, and for taking the answer
_AT_ONCE: Final = 256  # connections of one account: a hub gone wild leaves root its own
# Of those: anybody on the web can ask that, and each takes seconds; servers are stopped all the same.
_SIGN_INS: Final = 160
_BACKLOG: Final = 1024  # connections that wait to be looked at
_LAST_STARTS: Final = 3.0  # seconds for what is under way when the warden is told to end
_LOOK: Final = 1.0  # seconds between looks at the size of logs, and at whether `apply` wrote new settings


class Warden:
    """Answers questions. The settings are read again at each start and sign-in; the file's last good content counts.

    files: how many each server may have open, unless it asks for more.
    """

    def __init__(self, path: Path, files: int) -> None:
        self.path = path
        self.settings = settings.read(path)
        self.nurseries = Nurseries(self.place_socket)
        pam = Pam()
        self.servers = Servers(Registry(self.settings.registry), self.nurseries, Sessions(pam, files), files)
        self.login = Login(pam)
        self.room = Room()
        self._serving: Counter[int] = Counter()
        self._signing_in = 0
        self._guard: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def place_socket(self) -> Path:
        """Where a nursery's child asks for its place."""
        return self.settings.socket.with_name("place.sock")

    def fresh(self) -> Settings:
        """The settings as they are now; those before when the file is wrong now."""
        try:
            self.settings = settings.read(self.path)
        except ConfigError as error:
            log.warning("%s; going on with the settings before", error.message)
        self.nurseries.keep(self.settings)
        return self.settings

    async def answer(self, message: Message, reader: asyncio.StreamReader) -> dict[str, Any]:
        """What the message asks for; raises Refusal. reader: where its end is seen, when nobody waits any more."""
        if isinstance(message, Authenticate):
            return messages.done(user=await self._sign_in(message))
        if isinstance(message, Start):
            # Whoever asks says nothing more: what comes is the end of the connection.
            gone = asyncio.ensure_future(_end_of(reader))
            try:
                entry = await self.servers.start(message, self.fresh(), gone.done)
            finally:
                gone.cancel()
            return messages.done(pid=entry.pid, socket=entry.socket)
        if isinstance(message, Stop):
            return messages.done(was=await self.servers.stop((message.user, message.server), message.now))
        if isinstance(message, Status):
            return messages.done(**self.servers.status((message.user, message.server)))
        if isinstance(message, List):
            return messages.done(servers=self.servers.list())
        assert isinstance(message, StopAll)  # the vocabulary is closed
        return messages.done(stopped=await self.servers.stop_all())

    async def _sign_in(self, message: Authenticate) -> str:
        if self._signing_in >= _SIGN_INS:
            raise Refusal("busy", "too many people are signing in; try again")
        self._signing_in += 1
        try:
            return await self.login.authenticate(message, self.fresh())
        finally:
            self._signing_in -= 1

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one peer; never raises."""
        await self._converse(reader, writer, self._serve)

    async def place(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one child of a nursery, which wants to be a kernel; never raises."""
        await self._converse(reader, writer, self._place)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            peer = wire.peer_of(writer.get_extra_info("socket"))
            with self._counted(peer.uid):
                answer = messages.encode(await _answer(serve, peer, reader))
            # No longer counted: whoever has an answer may ask again, before this end has heard of it.
            writer.write(answer)
            await asyncio.wait_for(writer.drain(), _COMPLETE)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), _COMPLETE)
        except (OSError, asyncio.TimeoutError, TimeoutError):
            pass  # the peer went away or does not listen
        except Exception as error:
            _report(error)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    @contextlib.contextmanager
    def _counted(self, uid: int) -> Iterator[None]:
        self._serving[uid] += 1
        try:
            yield
        finally:
            self._serving[uid] -= 1
            if not self._serving[uid]:
                del self._serving[uid]

    async def _serve(self, peer: wire.Peer, reader: asyncio.StreamReader) -> dict[str, Any]:
        if peer.uid not in (self.settings.hub_uid, 0, os.geteuid()):
            log.warning("refused a peer with uid %d", peer.uid)
            raise Refusal("forbidden", "only the hub may ask")
        if self._serving[peer.uid] > _AT_ONCE:
            raise Refusal("busy", "too many questions at once; ask again")
        return await self.answer(messages.parse(await _question(reader)), reader)

    async def _place(self, peer: wire.Peer, reader: asyncio.StreamReader) -> dict[str, Any]:
        if peer.uid not in (self.settings.nursery_uid, os.geteuid()):
            log.warning("refused a kernel to uid %d", peer.uid)
            raise Refusal("forbidden", "only a nursery may ask")
        message = messages.parse_place(await _question(reader))
        self.nurseries.renew()
        if (child := processes.glance(peer.pid)) is not None and self.nurseries.is_old(child.parent):
            raise Refusal("start-failed", "the machine is no longer as it was when the nursery was begun")
        running = await self.servers.place(peer.pid, message.caller, message.uid)
        person = await accounts.ask(accounts.find, running.entry.user, self.settings)
        groups = sorted({*person.groups, *running.entry.groups})
        return messages.done(uid=person.uid, gid=person.gid, groups=groups)

    async def tidy(self) -> None:
        """Cut what servers have logged; stop those of whoever fills the file system of the sockets."""
        if os.geteuid() == 0 and (self._guard is None or self._guard.done()):
            # Nothing waits for it: it looks at every process, and stops servers that may not want to.
            self._guard = asyncio.create_task(self._guard_room(self.settings.servers))
        self.nurseries.renew()
        if self.settings.log_dir is not None:
            await asyncio.to_thread(folders.trim_logs, self.settings.log_dir)

    async def _guard_room(self, servers: Path) -> None:
        try:
            if (name := await asyncio.to_thread(self.room.look, servers)) is not None:
                await asyncio.to_thread(self.room.empty, servers, name)
                await self.servers.stop_all(name)
        except Exception as error:
            _report(error)

    async def finish(self) -> None:
        """Let starts and stops that are under way come to an end, for a little while."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_STARTS)


async def _answer(serve: Serve, peer: wire.Peer, reader: asyncio.StreamReader) -> dict[str, Any]:
    """What the question is answered, a refusal if need be."""
    try:
        return await serve(peer, reader)
    except Refusal as refusal:
        return messages.refused(refusal)
    except Exception as error:
        _report(error)
        return messages.refused(Refusal("error", "the warden failed at this; its log says where"))


def _report(error: Exception) -> None:
    """Where it went wrong, never what with: the text of an exception may repeat a password."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.error("unexpected %s at %s:%s", type(error).__name__, Path(frame.filename).name, frame.lineno)


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass


async def _question(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.readuntil(b"\n"), _COMPLETE)
    except (asyncio.TimeoutError, TimeoutError):
        raise BadMessage(f"the question was not complete within {_COMPLETE:.0f} s") from None
    except (asyncio.IncompleteReadError, ConnectionError):
        raise BadMessage("the question does not end with a newline") from None
    except (asyncio.LimitOverrunError, ValueError):
        raise BadMessage(f"the question is larger than {messages.MAX_QUESTION} bytes") from None


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def listen(path: Path, hub_uid: int) -> socket.socket:
    """The socket, only ever visible under its name when its owner and mode are right. Raises OSError."""
    folders.own(path.parent, 0o711)
    temporary = path.with_name(f".{secrets.token_hex(4)}")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)
    try:
        server.bind(str(temporary))
        if os.geteuid() == 0:
            os.chown(temporary, hub_uid, -1)
        temporary.chmod(0o600)
        server.listen(_BACKLOG)
        temporary.replace(path)  # also takes the place of one that a killed warden left
    except BaseException:
        server.close()
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.umask(before)
    return server


def notify_systemd(state: str) -> None:
    """sd_notify(3): a datagram to the socket named in the environment, if there is one."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.send(state.encode())


async def serve(path: Path, files: int) -> None:
    """Run the warden with these settings until SIGTERM or SIGINT; the servers go on. files: as in `Warden`."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32))  # lookups and starts block
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    warden = Warden(path, files)
    warden.servers.adopt()
    address = warden.settings.socket  # a later warden.json may say another: that counts from the next warden on
    listening = listen(address, warden.settings.hub_uid)
    server = await asyncio.start_unix_server(
        warden.connection, sock=listening, limit=messages.MAX_QUESTION, backlog=_BACKLOG
    )
    nursery_uid = warden.settings.nursery_uid
    place = await asyncio.start_unix_server(
        warden.place,
        sock=listen(warden.place_socket, os.geteuid() if nursery_uid is None else nursery_uid),
        limit=messages.MAX_QUESTION,
        backlog=_BACKLOG,
    )
    warden.nurseries.keep(warden.settings)
    log.info("listening on %s", address)
    notify_systemd("READY=1")
    seen = _changed(path)
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK)
        if (now := _changed(path)) != seen:
            seen = now
            warden.fresh()  # another environment means other nurseries, before anybody waits for one
        try:
            await warden.tidy()
        except Exception as error:
            _report(error)
    notify_systemd("STOPPING=1")
    server.close()
    place.close()
    await warden.nurseries.retire()
    address.unlink(missing_ok=True)
    await warden.finish()
    log.info("ended; the servers go on")
    logging.shutdown()
    # At once: the end of the loop and its threads would wait for a directory service that does not answer.
    os._exit(0)
