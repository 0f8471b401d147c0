"""One person with a browser: signs in through the form, is taken to the Lab, starts kernels, runs cells.

Asks for what a browser asks for at a first visit, over at most six connections, and draws nothing. Runs in the load
generator's process only.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
import uuid
from types import TracebackType
from typing import Any
from urllib.parse import quote, urljoin

import aiohttp
from yarl import URL

# Browsers open six connections to a site; the stream of a start's progress and a kernel's channel come on top.
CONNECTIONS = 6 + 2
LARGEST = 64 * 1024 * 1024  # bytes in one message of a kernel
# What JupyterLab 4 asks its server for while its page comes up.
FIRST_QUESTIONS = (
    *("lab/api/settings", "lab/api/translations/en", "lab/api/workspaces/default", "api/kernelspecs", "api/me"),
    *("api/contents?content=1&type=directory", "api/sessions", "api/kernels", "api/terminals"),
)
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


class Failed(Exception):
    """Something did not happen as it should; the text is what a person would report."""


class Person:
    """Use it in an `async with`, and begin with `come`. site: address of the site, ending in a slash."""

    def __init__(self, site: str, name: str, password: str) -> None:
        self.site, self.name, self._password = site, name, password
        self.server = f"{site}user/{quote(name)}/"
        self._form = ""
        self._kernels = 0
        self._channel: Channel | None = None
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # unsafe: cookies of a site without a name, 127.0.0.1
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            headers={"User-Agent": "manylab bench", "Accept-Language": "en"},
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def __aenter__(self) -> Person:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the browser; the server goes on."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        await self._http.close()

    # the hub

    async def come(self) -> None:
        """Open the sign-in page. What follows is measured from a form that is there and filled in."""
        async with self._http.get(f"{self.site}hub/login", headers=NAVIGATION) as answer:
            page = await answer.text()
        found = re.search(r'name="_xsrf"\s+value="([^"]*)"', page)
        if found is None:
            raise Failed(f"no sign-in form at {self.site} (status {answer.status})")
        self._form = html.unescape(found[1])

    async def enter(self) -> dict[str, float]:
        """Click "Sign in" and wait for the Lab: seconds until signed in, until the server was ready, until the Lab's
        page, its script and its first answers were there.
        """
        began = time.perf_counter()
        form = {"_xsrf": self._form, "username": self.name, "password": self._password}
        headers = {**NAVIGATION, "Referer": f"{self.site}hub/login", "Origin": str(URL(self.site).origin())}
        async with self._http.post(
            f"{self.site}hub/login", data=form, headers=headers, allow_redirects=False
        ) as answer:
            if answer.status != 302:
                raise Failed(f"the sign-in was refused (status {answer.status})")
            target = urljoin(self.site, answer.headers["Location"])
        signed_in = time.perf_counter() - began
        where, page = await self._visit(target)
        if not where.startswith(self.server):
            await self._wait_for_server(where)
            ready = time.perf_counter() - began
            where, page = await self._visit(self.server)
        else:
            ready = time.perf_counter() - began
        if "jupyter-config-data" not in page:
            raise Failed(f"no Lab, but {where}")
        await self._load(where, page)
        return {"signed-in": signed_in, "server": ready, "lab": time.perf_counter() - began}

    async def _visit(self, url: str) -> tuple[str, str]:
        """A page, redirects followed as by a browser: its address in the end, and its text."""
        async with self._http.get(url, headers=NAVIGATION, max_redirects=20) as answer:
            page = await answer.text()
            if answer.status >= 400:
                raise Failed(f"{answer.url} answered {answer.status}")
            return str(answer.url), page

    async def _wait_for_server(self, page: str) -> None:
        """Listen to the progress of the start, as the waiting page does."""
        url = f"{self.site}hub/api/users/{quote(self.name)}/server/progress"
        headers = {"Accept": "text/event-stream", "Referer": page}
        async with self._http.get(url, params=self._xsrf(f"{self.site}hub/", "_xsrf"), headers=headers) as answer:
            if answer.status >= 400:
                raise Failed(f"the server does not start: {answer.status} {(await answer.text())[:200]}")
            async for line in answer.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line[5:])
                if event.get("ready"):
                    return
                if event.get("failed"):
                    raise Failed(str(event.get("message", "the server did not start")))
        raise Failed("the hub stopped saying how the start goes on")

    def _xsrf(self, url: str, name: str = "X-XSRFToken") -> dict[str, str]:
        """What shows a request to come from the site's own page: its cookie, told again."""
        cookie = self._http.cookie_jar.filter_cookies(URL(url)).get("_xsrf")
        return {} if cookie is None else {name: cookie.value}

    async def leave(self) -> None:
        """Stop the server as the hub's own page does, and wait until the hub says that it is gone."""
        base = f"{self.site}hub/api/users/{quote(self.name)}"
        headers = {**self._xsrf(f"{self.site}hub/"), "Referer": f"{self.site}hub/home"}
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        async with self._http.delete(f"{base}/server", headers=headers):
            pass  # 204: gone; 202: going; 4xx: it had not started
        while True:
            async with self._http.get(base, headers=headers) as answer:
                if answer.status != 200 or not (await answer.json()).get("servers"):
                    return
            await asyncio.sleep(0.2)

    # the server

    async def _load(self, where: str, page: str) -> None:
        """What the page of the Lab makes a browser fetch."""
        scripts = [urljoin(where, html.unescape(found)) for found in re.findall(r'<script[^>]*\ssrc="([^"]+)"', page)]
        wanted = [*scripts, *(self.server + path for path in FIRST_QUESTIONS)]
        await asyncio.gather(*(self._fetch(url) for url in wanted))

    async def _fetch(self, url: str) -> None:
        headers = {**self._xsrf(self.server), "Referer": f"{self.server}lab", "Accept": "*/*"}
        async with self._http.get(url, headers=headers) as answer:
            await answer.read()
            # The workspace is one that nobody has saved yet.
            if answer.status >= 400 and not url.endswith("workspaces/default"):
                raise Failed(f"{answer.url.path} answered {answer.status}")

    async def run_in_new_kernel(self, code: str) -> tuple[float, str]:
        """Open a notebook with a kernel and run one cell: seconds until its reply, and what it printed."""
        began = time.perf_counter()
        if self._channel is not None:
            await self._channel.close()
        self._kernels += 1
        name = f"bench-{self._kernels}.ipynb"
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        headers = {**self._xsrf(self.server), "Referer": f"{self.server}lab"}
        async with self._http.post(f"{self.server}api/sessions", json=session, headers=headers) as answer:
            if answer.status >= 400:
                raise Failed(f"no kernel: {answer.status} {(await answer.text())[:200]}")
            kernel = (await answer.json())["kernel"]["id"]
        socket = await self._http.ws_connect(
            f"{self.server}api/kernels/{kernel}/channels",
            origin=str(URL(self.site).origin()),
            max_msg_size=LARGEST,
            headers=headers,
        )
        self._channel = Channel(socket, self.name)
        await self._channel.ask("kernel_info_request", {})
        printed = await self._channel.run(code)
        return time.perf_counter() - began, printed

    async def run(self, code: str) -> tuple[float, str]:
        """One more cell in the kernel that was started last."""
        if self._channel is None:
            raise Failed("there is no kernel")
        began = time.perf_counter()
        printed = await self._channel.run(code)
        return time.perf_counter() - began, printed


class Channel:
    """A kernel's websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], name: str) -> None:
        self._socket, self._name, self._session = socket, name, uuid.uuid4().hex
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        # All the time, as a browser: a server's pings are answered while one listens, and after a minute without an
        # answer it takes the browser for gone.
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            received = await self._socket.receive()
            self._heard.put_nowait(received)
            if received.type is not aiohttp.WSMsgType.TEXT:
                return

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._socket.close()

    async def run(self, code: str) -> str:
        """Run a cell; what it printed, once the kernel has replied and is idle again."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        return await self.ask("execute_request", content, idle=True)

    async def ask(self, kind: str, content: dict[str, Any], *, idle: bool = False) -> str:
        """Send one message and wait for its reply (and, with `idle`, for the end of what it caused)."""
        message = uuid.uuid4().hex
        header = {
            "msg_id": message,
            "msg_type": kind,
            "username": self._name,
            "session": self._session,
            "version": "5.3",
            "date": "",
        }
        question = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        await self._socket.send_str(json.dumps(question))
        printed, replied, waiting = "", False, idle
        while not replied or waiting:
            received = await self._heard.get()
            if received.type is not aiohttp.WSMsgType.TEXT:
                self._heard.put_nowait(received)  # whoever asks next is told the same
                raise Failed(f"the kernel's channel closed ({received.type.name})")
            answer = json.loads(received.data)
            if answer["parent_header"].get("msg_id") != message:
                continue
            said = answer["content"]
            if answer["msg_type"] == "stream":
                printed += said["text"]
            elif answer["msg_type"] == "status":
                waiting = waiting and said["execution_state"] != "idle"
            elif answer["msg_type"] == kind.replace("_request", "_reply"):
                replied = True
                if said.get("status", "ok") != "ok":
                    raise Failed("".join(said.get("traceback", [said["status"]]))[-300:])
        return printed
