"""Who a rehearsed server plays for: a hub that knows one person, and that person's browser. See rehearsal.py."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

from jupyter_server.serverapp import ServerApp
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

NAME = "rehearsal"
# Nobody's: the hub that would know it is the one below, and is gone before the first child.
TOKEN = "rehearsal"  # noqa: S105
PREFIX = f"/user/{NAME}/"
SCOPE = f"access:servers!server={NAME}/"


def environ(folder: Path) -> dict[str, str]:
    """The environment of the rehearsed server, with all its files in `folder`."""
    for name in ("home", "jupyter"):
        (folder / name).mkdir(exist_ok=True)
    socket = folder / "server.sock"
    api = f"http+unix://{quote(str(folder / 'hub.sock'), safe='')}/hub/api"
    scopes = json.dumps([SCOPE])
    return {
        "HOME": str(folder / "home"),
        "USER": NAME,
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "SHELL": "/bin/sh",
        "MANYLAB_SOCKET": str(socket),
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{NAME}/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{NAME}",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
        "JUPYTERHUB_OAUTH_SCOPES": scopes,
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": f"http+unix://{quote(str(socket), safe='')}{PREFIX}",
        "JUPYTERHUB_USER": NAME,
    }


class _Hub(RequestHandler):  # type: ignore[misc,unused-ignore]
    def get(self, path: str) -> None:
        self.set_header("X-JupyterHub-Version", "0")
        if path == "user":
            self.write({"name": NAME, "kind": "user", "admin": False, "groups": [], "scopes": [SCOPE]})
        else:
            self.write({"version": "0"})

    def post(self, path: str) -> None:
        self.write({"access_token": TOKEN, "token_type": "Bearer"})

    def check_xsrf_cookie(self) -> None:
        """None here."""


async def open_hub(folder: Path) -> HTTPServer:
    """The hub; stop it at the end."""
    hub = HTTPServer(Application([(r"/hub/api/?(.*)", _Hub)], log_function=lambda _: None))
    hub.add_socket(bind_unix_socket(str(folder / "hub.sock")))
    return hub


# What JupyterLab 4.6 asks for before its first window is complete, as a browser was seen to do it.
PAGES = (
    "api/kernelspecs",
    "api/me",
    "lab/api/settings",
    "api/kernels",
    "api/terminals",
    "api/sessions",
    "lab/api/workspaces",
    "lab/api/translations/default",
    "lab/api/translations",
    "api/config/jupyterlabapputilsextensionannouncements",
    "lsp/status",
    "api/contents?content=1&hash=0",
    "lab/api/settings/@jupyterlab/docmanager-extension:plugin",
    "lab/api/settings/@jupyterlab/notebook-extension:panel",
    "lab/api/themes/@jupyterlab/theme-light-extension/index.css",
    "lab/api/workspaces/default",
    "lab/api/settings?ids_only=true",
)


class Browser:
    """Speaks HTTP over one connection; knows about cookies what OAuth needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._cookies: dict[str, str] = {}

    async def ask(
        self, path: str, method: str = "GET", body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer. A full path, or one of the server's."""
        lines = [f"{method} {path if path.startswith('/') else PREFIX + path} HTTP/1.1", "Host: localhost"]
        lines += [f"Cookie: {'; '.join(f'{k}={v}' for k, v in self._cookies.items())}", "Accept-Encoding: gzip"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += ["Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-origin", f"Referer: http://localhost{PREFIX}lab"]
        lines += [f"X-XSRFToken: {self._cookies.get('_xsrf', '')}", f"Content-Length: {len(body)}", "", ""]
        self._writer.write("\r\n".join(lines).encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found: dict[str, str] = {}
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name.lower() == "set-cookie":
                key, _, content = value.split(";")[0].partition("=")
                self._cookies[key] = content
            found[name.lower()] = value
        status = int(head.split()[1])
        if found.get("transfer-encoding") == "chunked":
            content_bytes = await self._chunks()
        else:
            content_bytes = await self._reader.readexactly(int(found.get("content-length", "0")))
        return status, found, content_bytes

    async def _chunks(self) -> bytes:
        whole = b""
        while size := int(await self._reader.readline(), 16):
            whole += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return whole


async def visit(app: ServerApp) -> None:
    """Sign in as a browser does, open JupyterLab, open a notebook."""
    reader, writer = await _connect(app.sock)
    browser = Browser(reader, writer)
    try:
        await browser.ask("api")
        _, headers, _ = await browser.ask("lab")
        if (state := re.search(r"state=([^&]*)", headers.get("location", ""))) is not None:
            await browser.ask(f"oauth_callback?code=rehearsal&state={state[1]}")
        status, _, page = await browser.ask("lab")
        if status != 200:
            raise RuntimeError(f"the rehearsed page answered {status}")
        for script in re.findall(rf'(?:src|href)="({PREFIX}[^"]*)"', page.decode()):
            await browser.ask(script)
        # What is answered in the browser's language, in both that the Lab comes with.
        for path in ("lab/api/settings", "lab/api/translations/default"):
            await browser.ask(path, Accept_Language="zh-CN")
        for path in PAGES:
            await browser.ask(path, Accept_Language="en")
        await _use_a_notebook(browser)
    finally:
        writer.close()


async def _use_a_notebook(browser: Browser) -> None:
    """As somebody does who clicks on "Notebook": make it, read it, save it, see what it can be exported to."""
    _, _, made = await browser.ask("api/contents", "POST", b'{"type": "notebook"}')
    path = f"api/contents/{json.loads(made)['path']}"
    _, _, found = await browser.ask(f"{path}?content=1&hash=1")
    notebook = {"type": "notebook", "format": "json", "content": json.loads(found)["content"]}
    await browser.ask(path, "PUT", json.dumps(notebook).encode())
    await browser.ask(f"{path}/checkpoints")
    await browser.ask("api/nbconvert")


async def _connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # The server listens when the loop comes to it.
    for _ in range(1000):
        try:
            return await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(0)
    raise RuntimeError("the rehearsed server does not listen")
