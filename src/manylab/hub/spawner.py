"""Starting, watching and stopping people's servers: the hub asks, the warden does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import url_escape_path, url_path_join
from traitlets import Bool, Dict, Integer, Unicode

from manylab.base import names
from manylab.base.errors import BadName, WardenUnavailable
from manylab.hub import environment, sentences, urls
from manylab.system import warden_client

# Seconds. A warm server listens after 0.2 to 0.4 s; JupyterHub's own first looks are up to 0.2, 0.4, 0.8 ... apart.
LOOK_AT_SOCKET = 0.02
LOOK_AT_PROCESS = 1.0
# Tries, a second apart, while the warden is being restarted.
START_TRIES = STOP_TRIES = 20


class StartRefused(SpawnException):  # type: ignore[misc]
    """A server that could not be started, with a sentence for the person (in both languages)."""

    def __init__(self, reason: str, log_message: str) -> None:
        sentence = sentences.both(reason)
        super().__init__(sentence, reason=reason, log_message=log_message, status_code=500)
        self.jupyterhub_message = sentence


class WardenSpawner(Spawner):  # type: ignore[misc]
    """One server of one person, on a unix socket in a folder that only they and the proxy can enter."""

    warden_socket = Unicode("", config=True, help="The unix socket of the warden.")
    servers_dir = Unicode("/run/manylab/servers", config=True, help="The folder of the folders of running servers.")
    activity_interval = Integer(300, config=True, help="Seconds between two reports of a server's activity to the hub.")

    started = Bool(False, help="Whether this server was started and not stopped, as far as the hub knows.")
    pid = Integer(0, help="The server's process, for people who look; it decides nothing.")
    socket = Unicode("", help="Where the server listens.")
    ended = Dict(help="Why and when somebody other than its owner had it stopped (endings.py); until the next start.")
    host = Unicode("", help="Scheme and name of its own address when it was started; empty without subdomains.")

    # JupyterHub's own idea of the address of a server, put right for unix sockets (urls.py says why).
    @property
    def server(self) -> Any:
        self._server = urls.as_socket_server(Spawner.server.fget(self))
        return self._server

    @server.setter
    def server(self, server: Any) -> None:
        Spawner.server.fset(self, server)

    @property
    def _host(self) -> str:
        """`host` of a server that is started now."""
        return str(self.user.url).removesuffix(self.user.base_url)

    @property
    def moved(self) -> bool:
        """Whether the server runs with another address than the site would give it now."""
        return self.server is not None and (
            self.server.base_url != url_path_join(self.user.base_url, url_escape_path(self.name), "/")
            # One that was started without subdomains answers under any name.
            or self.host not in ("", self._host)
        )

    @property
    def old_url(self) -> str:
        """Where one can still come in; "" when that is nowhere: a server that was started with subdomains has its
        visitors authorized under a name of its own, and without them the proxy does not look at names.
        """
        return "" if self.host and not self._host else f"{self.host or self._host}{self.server.base_url}"

    def route(self) -> None:
        """Have the proxy's route lead where the server answers: the address that it was started with."""
        if self.server is not None:
            domain = (urlsplit(self.host or self._host).hostname or "") if self._host else ""
            self.proxy_spec = domain + self.server.base_url

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.host = str(state.get("host", ""))
        self.route()
        self.started = bool(state.get("started", False))
        self.pid = int(state.get("pid", 0))
        self.socket = str(state.get("socket", ""))
        self.ended = dict(state.get("ended") or {})

    def get_state(self) -> dict[str, Any]:
        state = dict(super().get_state())
        if self.started:
            state |= {"started": True, "pid": self.pid, "socket": self.socket, "host": self.host}
        elif self.ended:
            state["ended"] = dict(self.ended)
        return state

    def clear_state(self) -> None:
        super().clear_state()
        self.started, self.pid, self.socket, self.host = False, 0, "", ""

    def expected_socket(self) -> str:
        """Where the warden will have the server listen; the server needs to know before it is started."""
        folder = PurePosixPath(self.servers_dir) / names.folder(self.user.name) / names.server_folder(self.name)
        return str(folder / "server.sock")

    def get_env(self) -> dict[str, str]:
        env = dict(super().get_env())
        prefix = self.server.base_url if self.server is not None else "/"
        env["JUPYTERHUB_SERVICE_URL"] = urls.socket_url(self.expected_socket()) + prefix
        env["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(self.activity_interval)
        kept, dropped = environment.split(env)
        if dropped:
            self.log.warning("Not sent to %s's server, the warden does not accept them: %s", self.user.name, dropped)
        return kept

    async def _ask(self, do: str, timeout: float, **fields: Any) -> dict[str, Any]:
        question = {"do": do, "user": self.user.name, "server": self.name, **fields}
        answer: dict[str, Any] = await warden_client.ask(self.warden_socket, question, timeout)
        return answer

    async def start(self) -> str:
        """The address of the server, which listens already. Raises StartRefused."""
        self.ended = {}
        self.route()
        try:
            env = self.get_env()
        except BadName as error:
            raise StartRefused("start-failed", error.message) from error
        answer = await self._ask_to_start(env)
        if answer.get("ok") is not True:
            reason, message = str(answer.get("reason", "error")), str(answer.get("message", ""))
            raise StartRefused(sentences.start_refusal(reason, message), f"the warden said {reason}: {message}")
        self.started, self.pid, self.socket = True, int(answer.get("pid") or 0), str(answer["socket"])
        self.host = self._host
        await self._listening()
        return urls.socket_url(self.socket)

    async def _ask_to_start(self, env: dict[str, str]) -> dict[str, Any]:
        """The warden's answer. A warden that is just being restarted is waited for. Raises StartRefused."""
        for tries_left in reversed(range(START_TRIES)):
            try:
                # Also what was begun by a warden that ended before it could answer.
                await self._end_forgotten()
                return await self._ask("start", float(self.start_timeout), env=env)
            except WardenUnavailable as error:
                if not tries_left:
                    raise StartRefused("start-unavailable", error.message) from error
                self.log.warning("The warden does not answer; asking again for %s", self._log_name)
                await asyncio.sleep(1.0)
        raise AssertionError("not reached")

    async def _end_forgotten(self) -> None:
        """Ends a server that runs and that the hub does not know (its database was put back, or a stop failed).

        The warden would answer with that one; it holds an old token, and its owner would be sent round in circles.
        """
        if (await self._ask("status", 10.0)).get("state") == "running":
            self.log.warning("%s runs and the hub does not know it; ending it", self._log_name)
            await self._ask("stop", 60.0, now=True)

    async def _listening(self) -> None:
        """Waits until the server accepts connections. `User.spawn` ends this after start_timeout."""
        loop = asyncio.get_running_loop()
        look_at_process = loop.time() + LOOK_AT_PROCESS
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(self.socket)
            except OSError:
                if loop.time() >= look_at_process:
                    status = await self.poll()
                    if status is not None:
                        raise StartRefused("ended-early", f"it ended with status {status}, see its log") from None
                    look_at_process = loop.time() + LOOK_AT_PROCESS
                await asyncio.sleep(LOOK_AT_SOCKET)
            else:
                writer.close()
                return

    async def poll(self) -> int | None:
        """None while the server runs, or may run: only the warden's word ends a server for the hub."""
        if not self.started:
            return 0
        try:
            answer = await self._ask("status", 10.0)
        except WardenUnavailable:
            # A restart of the warden ends no server; to say "it ended" would throw away its route and its tokens.
            self.log.warning("The warden does not answer; taking it that %s still runs", self._log_name)
            return None
        state = answer.get("state")
        if answer.get("ok") is not True or state == "running":
            return None
        exit_status = answer.get("exit")
        if state == "exited":
            return exit_status if isinstance(exit_status, int) else 1
        return 0

    async def stop(self, now: bool = False) -> None:
        """Returns when the server and everything it started is gone."""
        # JupyterHub forgets a server whose stop failed, so a warden that is just being restarted is waited for.
        for tries_left in reversed(range(STOP_TRIES)):
            try:
                # The warden gives a server 10 s before it kills it, and then waits for its last processes.
                answer = await self._ask("stop", 60.0, now=now)
                if answer.get("reason") != "busy" or not tries_left:
                    break
                await asyncio.sleep(1.0)
            except WardenUnavailable:
                if not tries_left:
                    raise
                await asyncio.sleep(1.0)
        if answer.get("ok") is not True:
            self.log.error("The warden did not stop %s: %s", self._log_name, answer)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the page says while the server starts."""
        yield {"progress": 20, "message": "Starting your server. 正在启动您的服务器。"}
        await asyncio.sleep(5)
        yield {"progress": 50, "message": "It takes a little longer than usual. 启动时间比平时稍长，请稍候。"}
        await asyncio.sleep(20)
        yield {"progress": 70, "message": "The machine is busy. Still starting. 服务器较忙，仍在启动中。"}
