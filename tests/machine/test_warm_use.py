"""What people do with a Lab, through warm servers: large files, several servers, output as it comes, an admin's visit;
and what happens to them when parts of the site are killed or the machine is out of something.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from harness import wait_until

from support.client import Refused
from support.site import Site

PASSWORD = "a long enough one"
CHUNK = 1024 * 1024  # bytes: what JupyterLab sends at a time
CONFIG = """
[servers]
named = true
[people]
admins = ["boss"]
admin_access = true
[jupyterhub]
"JupyterHub.load_roles" = [{ name = "user", scopes = ["self", "shares!user"] }]
"""

# A web application of a person's own, as Streamlit and TensorBoard are: pages, and a websocket that says things twice.
APPLICATION = """
import tornado.web, tornado.websocket, tornado.httpserver, tornado.netutil
class Page(tornado.web.RequestHandler):
    def get(self): self.write("a page of " + self.request.path)
class Twice(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin): return True
    def on_message(self, text): self.write_message(text + text)
class Told(Twice):
    def open(self): self.write_message(self.request.headers.get("Cookie", "no cookie"))
sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
application = tornado.web.Application([("/twice", Twice), ("/told", Told), ("/.*", Page)])
tornado.httpserver.HTTPServer(application).add_sockets(sockets)
print(sockets[0].getsockname()[1])
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def site():
    with Site("bookworm", "none", config=CONFIG) as made:
        for name in ("alice", "bob", "boss"):
            made.add_user(name, PASSWORD)
        made.machine.write("/usr/bin/node", "#!/bin/sh\nexec sleep 4711\n", mode=0o755)
        with made.up():
            made.wait_for_log("the nursery server is ready")
            made.wait_for_log("the nursery default is ready")
            yield made


@pytest.fixture
def alice(site):
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        yield client


def parent_of(site: Site, text: str) -> list[str]:
    """The command lines of the parents of all processes whose own begins like this."""
    processes = {process.pid: process for process in site.machine.processes()}
    return [
        " ".join(processes[process.parent].argv)
        for process in processes.values()
        if text in " ".join(process.argv) and process.parent in processes
    ]


def test_servers_and_kernels_are_forked_from_nurseries_and_look_like_themselves(site, alice):
    assert alice.run("import os; os.getppid()").isdigit()
    assert any("manylab.warm.nursery" in line for line in parent_of(site, "-m manylab.lab"))
    assert any("nursery.py" in line for line in parent_of(site, "-m ipykernel_launcher"))


def test_neither_a_nursery_nor_a_server_asks_node_for_a_registry_of_javascript(site, alice):
    """The machine's node never answers, so that whoever asks it is still there."""
    assert site.machine.exists("/usr/bin/node")
    assert not [process for process in site.machine.processes() if "4711" in process.argv]


def test_what_a_browser_is_sent_is_packed_if_it_takes_that_and_is_the_same(site, alice):
    lab, hub = "user/alice/", "hub/"
    pages = {lab: alice.get(f"{lab}lab").text, hub: alice.get(f"{hub}home").text}
    files = [found for start, page in pages.items() for found in re.findall(rf'(?:src|href)="/({start}[^"]*)"', page)]
    files = [file for file in files if urlsplit(file).path.endswith((".js", ".css"))]
    core = site.machine.run("ls /opt/manylab/envs/server/current/share/jupyter/lab/static/jlab_core.*.js").stdout
    files.append(f"{lab}static/lab/{core.strip().rpartition('/')[2]}")
    assert [file for file in files if "/main." in file and lab in file]
    assert [file for file in files if "style.min.css" in file and hub in file]
    packed = 0
    for file in [*files, f"{lab}lab/api/settings", f"{lab}lab/api/translations/zh_CN"]:
        with alice.http.stream("GET", alice.url + file, headers={"Accept-Encoding": "gzip"}) as answer:
            content = answer.read()
        plain = alice.get(file, headers={"Accept-Encoding": "identity"})
        assert content == plain.content, file
        assert "Content-Encoding" not in plain.headers
        if len(plain.content) > 100_000:
            packed += 1
            assert answer.headers["Content-Encoding"] == "gzip", file
            assert answer.num_bytes_downloaded < len(plain.content) / 2.5, file
    assert packed >= 4
    # The environment is as it was made: what is packed is readable to all, and writable by nobody else.
    found = site.machine.run("find /opt/manylab/envs/server/current/share/ -name '*.js.gz' | wc -l").stdout
    assert int(found) > 100
    assert site.machine.run(r"find /opt/manylab/envs -name '*.gz' \( ! -perm -444 -o -perm /022 \)").stdout == ""


def test_a_file_of_a_gigabyte_goes_up_and_comes_down_whole(site, alice):
    piece, pieces = os.urandom(CHUNK), 1024
    sent, encoded = hashlib.sha256(), base64.b64encode(piece).decode()
    for number in range(1, pieces + 1):
        model = {"type": "file", "format": "base64", "content": encoded, "name": "big.bin", "path": "big.bin"}
        model["chunk"] = -1 if number == pieces else number
        alice.server("PUT", "api/contents/big.bin", json=model).raise_for_status()
        sent.update(piece)
    received = hashlib.sha256()
    url = f"{alice.server_url}files/big.bin"
    with alice.http.stream("GET", url, headers=alice.xsrf(url)) as answer:
        answer.raise_for_status()
        for data in answer.iter_bytes():
            received.update(data)
    assert received.hexdigest() == sent.hexdigest()
    alice.server("DELETE", "api/contents/big.bin").raise_for_status()


class Noting:
    """A websocket that remembers when output came."""

    def __init__(self, socket):
        self.socket, self.when = socket, []

    def send(self, data):
        self.socket.send(data)

    def recv(self, timeout):
        data = self.socket.recv(timeout=timeout)
        if '"stream"' in data:
            self.when.append(time.monotonic())
        return data


def test_output_comes_while_the_cell_runs(alice, monkeypatch):
    notes: list[Noting] = []
    plain = alice.websocket

    @contextlib.contextmanager
    def websocket(path):
        with plain(path) as socket:
            notes.append(Noting(socket))
            yield notes[-1]

    monkeypatch.setattr(alice, "websocket", websocket)
    code = "import time\nfor n in range(4):\n    print(n, flush=True); time.sleep(0.5)"
    assert alice.run(code) == "0\n1\n2\n3\n"
    assert notes[-1].when[-1] - notes[-1].when[0] > 1.0


def test_a_second_server_of_the_same_person_has_its_own_kernels(site, alice):
    answer = alice.api("POST", "users/alice/servers/second")
    assert answer.status_code in (201, 202), answer.text

    def ready() -> bool:
        servers = alice.api("GET", "users/alice").json()["servers"]
        return bool(servers.get("second", {}).get("ready"))

    wait_until(ready, 60, "the second server")
    url = f"{alice.url}user/alice/second/api/kernels"
    alice.http.get(f"{alice.url}user/alice/second/lab").raise_for_status()
    first = {kernel["id"] for kernel in alice.server("GET", "api/kernels").json()}
    made = alice.http.post(url, json={"name": "python3"}, headers=alice.xsrf(url))
    assert made.status_code == 201, made.text
    assert made.json()["id"] not in first
    assert {kernel["id"] for kernel in alice.server("GET", "api/kernels").json()} == first
    alice.api("DELETE", "users/alice/servers/second").raise_for_status()


def test_an_admin_opens_a_persons_server_and_another_person_does_not(site, alice):
    with site.client("boss", PASSWORD) as boss, site.client("bob", PASSWORD) as bob:
        for client in (boss, bob):
            client.sign_in()
        asked = boss.http.get(alice.server_url + "lab")
        # JupyterHub asks before it lets one person's session into another's server.
        form = dict(re.findall(r'<input[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"', asked.text, re.DOTALL))
        page = boss.http.post(str(asked.url), data=form, headers={"Referer": str(asked.url)})
        assert page.status_code == 200 and "jupyter-config-data" in page.text
        assert page.url.path.startswith(urlsplit(alice.server_url).path)
        assert bob.http.get(alice.server_url + "lab").status_code == 403


def test_a_web_application_of_ones_own_is_seen_through_the_server_and_by_nobody_else(site, alice):
    port = int(alice.run(APPLICATION))
    page = alice.server("GET", f"proxy/{port}/hello")
    assert page.status_code == 200 and page.text == "a page of /hello"
    with alice.websocket(f"proxy/{port}/twice") as socket:
        socket.send("said")
        assert socket.recv(timeout=60) == "saidsaid"
    with alice.websocket(f"proxy/{port}/told") as socket:
        assert socket.recv(timeout=60) == "no cookie"
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        assert bob.http.get(f"{alice.server_url}proxy/{port}/hello").status_code == 403
    with httpx.Client(base_url=site.url, follow_redirects=True) as stranger:
        assert "a page of" not in stranger.get(f"user/alice/proxy/{port}/hello").text


# Started by the server at the first visit, on a unix socket.
STARTED = """
import http.server, socketserver, sys
class Told(http.server.BaseHTTPRequestHandler):
    def address_string(self): return ""
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['Cookie']} {self.headers['Authorization']}".encode())
socketserver.UnixStreamServer(sys.argv[1], Told).serve_forever()
"""


def test_a_web_application_that_the_server_starts_on_a_unix_socket_is_not_told_what_opens_the_server(site, alice):
    # Their braces are the extension's.
    command = [
        "/opt/manylab/envs/server/current/bin/python",
        "-c",
        STARTED.replace("{", "{{").replace("}", "}}"),
        "{unix_socket}",
    ]
    settings = {"ServerProxy": {"servers": {"started": {"command": command, "unix_socket": True}}}}
    site.machine.write("/opt/manylab/etc/jupyter/jupyter_server_config.json", json.dumps(settings))
    alice.api("POST", "users/alice/servers/third").raise_for_status()
    wait_until(
        lambda: alice.api("GET", "users/alice").json()["servers"].get("third", {}).get("ready"), 60, "the third server"
    )
    url = f"{alice.url}user/alice/third/"
    alice.http.get(f"{url}lab").raise_for_status()
    answer = alice.http.get(f"{url}started/a")
    assert (answer.status_code, answer.text) == (200, "/a None None")
    alice.api("DELETE", "users/alice/servers/third").raise_for_status()
    site.machine.run("rm /opt/manylab/etc/jupyter/jupyter_server_config.json")


def test_a_server_that_is_shared_opens_for_whom_it_is_shared_with_until_it_is_not_any_more(site, alice):
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        assert bob.http.get(alice.server_url + "lab").status_code == 403
        made = alice.api("POST", "share-codes/alice/", json={})
        assert made.status_code == 200, made.text
        asked = bob.get(made.json()["accept_url"].removeprefix("/"))
        form = dict(re.findall(r'<input[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"', asked.text, re.DOTALL))
        bob.http.post(str(asked.url), data=form, headers={"Referer": str(asked.url)}).raise_for_status()
        asked = bob.http.get(alice.server_url + "lab")
        if "jupyter-config-data" not in asked.text:  # first the question whether bob wants into another's server
            form = dict(re.findall(r'<input[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"', asked.text, re.DOTALL))
            asked = bob.http.post(str(asked.url), data=form, headers={"Referer": str(asked.url)})
        assert asked.status_code == 200 and "jupyter-config-data" in asked.text
        alice.api("DELETE", "shares/alice/", json={}).raise_for_status()
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        assert bob.http.get(alice.server_url + "lab").status_code == 403


def test_neither_hub_nor_server_closes_before_the_proxy_is_done(site, alice):
    """Who answers a request with a body and closes may be quicker than Node with its end: somebody reads "503". And a
    browser whose connection is closed after each answer connects anew for each request.
    """
    connection = alice.get("hub/health").extensions["network_stream"]
    file = {"type": "file", "format": "text", "content": "kept"}
    for answer in (
        alice.get("hub/health"),
        alice.api("DELETE", "shares/alice/", json={}),
        alice.server("PUT", "api/contents/kept.txt", json=file),
    ):
        assert answer.is_success, answer.text
        assert answer.headers.get("connection", "keep-alive") == "keep-alive"
        assert answer.extensions["network_stream"] is connection


def servers_of(site: Site, name: str) -> list[int]:
    """Pids of every server process of one person."""
    uid = int(site.machine.run(["id", "-u", name]).stdout)
    running = site.machine.processes()
    return [process.pid for process in running if process.uid == uid and "-m manylab.lab" in " ".join(process.argv)]


def become_ready(site: Site, name: str) -> None:
    """One of bob's servers, asked for again until it is there, as a person would."""
    with site.client("bob", PASSWORD) as bob:

        def ready() -> bool:
            try:
                if not bob.signed_in():
                    bob.sign_in()
                servers = bob.api("GET", "users/bob").json().get("servers", {})
                if not servers.get(name, {}).get("ready"):
                    bob.api("POST", f"users/bob/servers/{name}")
                    return False
            except (OSError, ValueError, AssertionError, httpx.HTTPError, Refused):
                return False  # the hub is just being started
            return True

        wait_until(ready, 90, f"the server {name}")


def test_while_the_hub_is_killed_everybody_gets_a_server_and_none_is_lost(site):
    names = [f"s{number}" for number in range(5)]
    with ThreadPoolExecutor(len(names)) as pool:
        waiting = [pool.submit(become_ready, site, name) for name in names]
        wait_until(lambda: servers_of(site, "bob"), 60, "the first start")
        for process in site.machine.processes():
            if "-m manylab.hub" in " ".join(process.argv) and "culler" not in " ".join(process.argv):
                site.machine.run(["kill", "-9", str(process.pid)], check=False)
        for one in waiting:
            one.result()
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        wait_until(lambda: len(bob.api("GET", "users/bob").json()["servers"]) == len(names), 60, "all are known")
        assert len(servers_of(site, "bob")) == len(names), "every process is a server that the hub knows"
