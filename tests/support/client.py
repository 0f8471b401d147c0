"""The browser's side of a site, without a browser: signs in through the form, opens the Lab, runs cells and commands.

with Client("http://127.0.0.1:8000/", "alice", "her password") as alice:
    alice.sign_in()
    assert "JupyterLab" in alice.open_lab()
    assert alice.run("import os; print(os.getcwd())") == "/home/alice\\n"
    assert alice.terminal("id -un") == "alice"
    alice.sign_out()

with pytest.raises(Refused, match="wrong"):
    Client(url, "alice", "not hers").sign_in()
"""

from __future__ import annotations

import contextlib
import html
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin


class Refused(Exception):
    """The site did not let this person in. `status`: of the answer. The text is the sentence on the page."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class StartFailed(AssertionError):
    """The person's server did not start; the text is what the hub said."""


class CellFailed(Exception):
    """The cell raised; the text is the traceback."""


@dataclass
class Output:
    """What a cell gave: the printed text, the value of its last line, and data such as {"image/png": ...}."""

    text: str = ""
    value: str = ""
    data: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text + self.value


class Client:
    """One person's browser. `url`: the site's, with its base_url. `language`: what the browser prefers, as "zh-CN"."""

    def __init__(
        self, url: str, name: str, password: str, *, language: str = "en", timeout: float = 60.0, verify: bool = True
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self.name, self.password, self.timeout = name, password, timeout
        headers = {"Accept-Language": language, "Accept": "text/html,application/json", "User-Agent": "manylab tests"}
        # trust_env: no proxy of the host is between us and the site.
        self.http = httpx.Client(
            follow_redirects=True, headers=headers, timeout=timeout, trust_env=False, verify=verify
        )
        self.kernel = ""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *why: object) -> None:
        self.http.close()

    # the hub

    @property
    def server_url(self) -> str:
        """Where the person's own server is."""
        return f"{self.url}user/{quote(self.name, safe='@~')}/"

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A page below the site's address, redirects followed."""
        return self.http.get(self.url + path, **more)

    def sign_in(self) -> httpx.Response:
        """Through the form on the login page. Raises Refused with the sentence that the page shows."""
        page = self.get("hub/login")
        page.raise_for_status()
        found = re.search(r'name="_xsrf"\s+value="([^"]*)"', page.text)
        assert found, f"no form on {page.url}:\n{page.text[:2000]}"
        form = {"_xsrf": html.unescape(found[1]), "username": self.name, "password": self.password}
        # Without `next` the hub would start the server at once; signing in and starting are two questions.
        answer = self.http.post(
            f"{self.url}hub/login", params={"next": f"{urlsplit(self.url).path}hub/home"}, data=form
        )
        if "jupyterhub-session-id" not in self.http.cookies or not self.signed_in():
            raise Refused(answer.status_code, sentence_of(answer.text))
        return answer

    def signed_in(self) -> bool:
        """Whether the hub knows who this is."""
        answer = self.http.get(f"{self.url}hub/home", follow_redirects=False)
        return answer.status_code == 200

    def sign_out(self) -> None:
        """By the link that every page of the hub has."""
        self.get("hub/logout").raise_for_status()

    def xsrf(self, url: str) -> dict[str, str]:
        """The header that shows a page's script to be the site's own: the `_xsrf` cookie of that address."""
        request = self.http.build_request("GET", url)
        found = re.search(r"(?:^|; )_xsrf=\"?([^;\"]+)", request.headers.get("cookie", ""))
        return {"X-XSRFToken": found[1]} if found else {}

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The hub's REST API as the hub's own pages use it: `api("GET", "users/alice")`."""
        url = f"{self.url}hub/api/{path}"
        headers = {**self.xsrf(f"{self.url}hub/"), "Referer": f"{self.url}hub/home"}
        return self.http.request(method, url, headers=headers, **more)

    def start_server(self, timeout: float = 60.0) -> float:
        """Have the person's server started and wait for it, listening to its progress as the page does: seconds.

        Raises StartFailed with what the hub said.
        """
        began = time.monotonic()
        asked = self.api("POST", f"users/{quote(self.name, safe='@~')}/server")
        if asked.status_code == 400 and "already running" in asked.text:
            return 0.0
        if asked.status_code >= 400:
            raise StartFailed(f"{asked.status_code}: {asked.text}")
        said = []
        for event in self._progress(timeout):
            said.append(str(event.get("message")))
            if event.get("ready"):
                return time.monotonic() - began
            if event.get("failed"):
                break
        raise StartFailed("\n".join(said))

    def _progress(self, timeout: float) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + timeout
        url = f"{self.url}hub/api/users/{quote(self.name, safe='@~')}/server/progress"
        headers = {**self.xsrf(f"{self.url}hub/"), "Referer": f"{self.url}hub/home", "Accept": "text/event-stream"}
        with self.http.stream("GET", url, headers=headers, timeout=timeout) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])
                if time.monotonic() > end:
                    raise StartFailed(f"not ready within {timeout:g} s")

    def stop_server(self, timeout: float = 60.0) -> None:
        """By the API, and wait until the hub says that it is gone."""
        self.api("DELETE", f"users/{quote(self.name, safe='@~')}/server").raise_for_status()
        end = time.monotonic() + timeout
        while self.api("GET", f"users/{quote(self.name, safe='@~')}").json()["servers"]:
            assert time.monotonic() < end, f"{self.name}'s server still runs after {timeout:g} s"
            time.sleep(0.1)

    # the server

    def open_lab(self, timeout: float = 60.0) -> str:
        """Start the server if need be, and load JupyterLab's page as its owner. Returns the page."""
        self.start_server(timeout)
        page = self.http.get(f"{self.server_url}lab")
        page.raise_for_status()
        assert page.url.path.startswith(unquote(urlsplit(self.server_url).path)), f"landed on {page.url}"
        assert "jupyter-config-data" in page.text, f"not JupyterLab on {page.url}:\n{page.text[:2000]}"
        return page.text

    def server(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The REST API of the person's own server: `server("GET", "api/contents")`. After `open_lab`."""
        url = self.server_url + path
        return self.http.request(method, url, headers={**self.xsrf(url), "Referer": f"{self.server_url}lab"}, **more)

    @contextlib.contextmanager
    def websocket(self, path: str) -> Iterator[ClientConnection]:
        """A websocket of the person's server, with the cookies of this browser."""
        parts = urlsplit(self.server_url)
        cookie = self.http.build_request("GET", self.server_url + path).headers.get("cookie", "")
        address = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}{path}"
        with connect(
            address,
            additional_headers={"Cookie": cookie},
            origin=Origin(f"{parts.scheme}://{parts.netloc}"),
            proxy=None,
            open_timeout=self.timeout,
            max_size=64 * 1024 * 1024,
        ) as socket:
            yield socket

    def start_kernel(self, name: str = "python3") -> str:
        """Start a kernel; `run` uses it from now on. Returns its id."""
        answer = self.server("POST", "api/kernels", json={"name": name})
        answer.raise_for_status()
        self.kernel = str(answer.json()["id"])
        return self.kernel

    def run(self, code: str, timeout: float = 60.0) -> str:
        """What a cell prints, and the value of its last line. Starts a kernel the first time. Raises CellFailed."""
        return str(self.cell(code, timeout))

    def cell(self, code: str, timeout: float = 60.0) -> Output:
        """Like `run`, with pictures and such."""
        if not self.kernel:
            self.start_kernel()
        with self.websocket(f"api/kernels/{self.kernel}/channels") as socket:
            message = uuid.uuid4().hex
            header = {
                "msg_id": message,
                "msg_type": "execute_request",
                "username": self.name,
                "session": "tests",
                "version": "5.3",
            }
            content = {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
            }
            question = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
            socket.send(json.dumps(question))
            return self._collect(socket, message, timeout)

    def _collect(self, socket: ClientConnection, message: str, timeout: float) -> Output:
        end = time.monotonic() + timeout
        output, idle, replied = Output(), False, False
        while not (idle and replied):
            try:
                answer = json.loads(socket.recv(timeout=max(0.0, end - time.monotonic())))
            except TimeoutError:
                raise AssertionError(f"no answer of the kernel within {timeout:g} s; so far: {output}") from None
            if answer["parent_header"].get("msg_id") != message:
                continue
            kind, content = answer["msg_type"], answer["content"]
            if kind == "stream":
                output.text += content["text"]
            elif kind in ("execute_result", "display_data"):
                output.data.append(content["data"])
                output.value += content["data"].get("text/plain", "") if kind == "execute_result" else ""
            elif kind == "execute_reply":
                replied = True
                if content["status"] != "ok":
                    raise CellFailed("\n".join(content.get("traceback", [content["status"]])))
            elif kind == "status":
                idle = idle or content["execution_state"] == "idle"
        return output

    def terminal(self, command: str, timeout: float = 60.0) -> str:
        """What a command prints in a new terminal of the Lab."""
        answer = self.server("POST", "api/terminals", json={})
        answer.raise_for_status()
        name = answer.json()["name"]
        mark = uuid.uuid4().hex
        screen = ""
        end = time.monotonic() + timeout
        with self.websocket(f"terminals/websocket/{name}") as socket:
            # The mark is put together by the shell: what is typed, and echoed, is not it.
            half = len(mark) // 2
            show = f"printf '%s%s\\n' {mark[:half]} {mark[half:]}"
            socket.send(json.dumps(["stdin", f"{show}; {command}; {show}\r"]))
            while screen.count(mark) < 2:
                try:
                    kind, *rest = json.loads(socket.recv(timeout=max(0.0, end - time.monotonic())))
                except TimeoutError:
                    raise AssertionError(f"{command!r} did not finish within {timeout:g} s:\n{screen}") from None
                screen += rest[0] if kind == "stdout" else ""
        self.server("DELETE", f"api/terminals/{name}")
        return screen.split(mark)[1].replace("\r\n", "\n").strip("\n")


def sentence_of(page: str) -> str:
    """What a login or error page of the hub tells its reader, as text."""
    for pattern in (r'<p class="login_error">(.*?)</p>', r'<div class="error">(.*?)</div>', r"<body.*?>(.*)</body>"):
        if found := re.search(pattern, page, re.DOTALL):
            text = re.sub(r"<script.*?</script>|<[^>]+>", " ", found[1], flags=re.DOTALL)
            return " ".join(html.unescape(text).split())
    return " ".join(page.split())
