"""Getting others to do it: the hub, the proxy, the warden, or alice's own browser. Each attack first where it works."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from harness import wait_until
from websockets.exceptions import ConnectionClosed

from support.apart import Pair, pair
from support.attacks import WORKED

HUB, WARDEN, API = "/run/manylab/hub/hub.sock", "/run/manylab/warden/warden.sock", "/run/manylab/proxy/api.sock"
KERNELS = "/run/manylab/nursery/default.sock"
# A refusal comes before the request is read to its end; once in a while the proxy then says 503 (it could not send it).
REFUSED = (403, 503)
EVIL = "https://evil.example.org"
ELSEWHERE = {"Origin": EVIL, "Referer": f"{EVIL}/page", "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"}


@pytest.fixture(scope="module", params=[("bookworm", "none"), ("bookworm", "systemd")], ids="-".join)
def two(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair(*request.param) as made:
        yield made


def status(answer: str) -> int:
    """Of an answer as text; 0 when there was none."""
    found = re.match(r"HTTP/1\.[01] (\d+)", answer)
    return int(found[1]) if found else 0


def request(path: str, method: str = "GET", body: str = "", **headers: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: lab", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n\r\n" + body


# the sockets of the site's own parts


def test_the_wardens_and_the_proxys_sockets_take_nobody(two):
    """Root's question is answered: it is the account that is refused and not the question."""
    question = json.dumps({"do": "start", "user": "alice", "server": "", "env": {}}) + "\n"
    assert '"ok"' in two.attack("say", WARDEN, json.dumps({"do": "list"}) + "\n", user="root")
    assert two.attack("say", WARDEN, question) == "EACCES"
    assert two.attack("say", API, request("/api/routes")) == "EACCES"
    assert two.attack("listing", "/run/manylab/proxy") == "EACCES"
    assert two.attack("listing", "/run/manylab/warden") == "EACCES"


def test_every_other_socket_of_the_site_refuses_people(two):
    """Whatever listens below /run/manylab, also what is not written down here."""
    found = two.site.machine.run("find /run/manylab -type s").stdout.split()
    assert {HUB, WARDEN, API} <= set(found)
    theirs = [path for path in found if not path.startswith("/run/manylab/servers/eve/")]
    open_ones = {path for path in theirs if two.attack("connect", path) == WORKED}
    # People's servers speak to these two, so everybody can; what they do for whom is what other tests are about.
    assert open_ones == {HUB, KERNELS}


def test_the_nursery_makes_kernels_for_servers_and_for_nobody_else(two):
    """Alice's server asks and gets one. Eve asks in the same words, and in worse ones."""
    before = {process.pid for process in two.site.machine.processes()}
    two.alice.server("POST", "api/kernels", json={"name": "python3"}).raise_for_status()
    new = [process for process in two.site.machine.processes() if process.pid not in before]
    assert {process.uid for process in new} == {two.uid("alice")}
    hers = json.dumps({"do": "kernel", "uid": two.uid("alice"), "user": "alice", "argv": ["sleep", "600"], "env": {}})
    before = {process.pid for process in two.site.machine.processes()}
    for words, times in ((hers + "\n", 1), ("{\n", 1), ("x", 1_000_000), (hers, 10_000), ("[[", 100_000), ("\n", 1)):
        for attack in (two.attack, two.attack_in_kernel):
            said = attack("say", KERNELS, words, 3, times)
            assert '"pid"' not in said, said
    new = [process for process in two.site.machine.processes() if process.pid not in before]
    assert [process for process in new if process.uid != two.uid("eve")] == []
    two.alice.kernel = ""
    assert two.alice.run("6 * 7") == "42"


def test_the_hub_does_for_a_person_what_that_person_may_and_no_more(two):
    """By the hub's socket, with the token that eve's server has, and with names in headers that a proxy might set."""
    token = two.eve.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'], end='')")
    her = {"Authorization": f"token {token}"}
    said = two.attack("say", HUB, request("/hub/api/user", **her))
    assert (status(said), '"name": "eve"' in said) == (200, True)
    tries = [
        ("GET", "/hub/api/users/alice", ""),
        ("GET", "/hub/api/users", ""),
        ("POST", "/hub/api/users/alice/server", "{}"),
        ("DELETE", "/hub/api/users/alice/server", ""),
        ("POST", "/hub/api/users/alice/tokens", "{}"),
        ("POST", "/hub/api/users/alice/activity", '{"last_activity": "2030-01-01T00:00:00Z"}'),
        ("PATCH", "/hub/api/users/alice", '{"admin": true}'),
        ("GET", "/hub/api/proxy", ""),
        ("POST", "/hub/api/shutdown", "{}"),
    ]
    for method, path, body in tries:
        names = {"X_Forwarded_User": "alice", "Remote_User": "alice", "X_Forwarded_For": "127.0.0.1"}
        for headers in (her, names, {**her, **names}):
            answer = two.attack("say", HUB, request(path, method, body, **headers))
            assert status(answer) in (403, 404), (method, path, answer[:400])


# her own folder, turned into a trap for those who look into it


@contextlib.contextmanager
def pointing(two: Pair, target: str) -> Iterator[None]:
    """While eve's socket is a link to another; her server goes on and gets its socket back."""
    own = two.socket("eve")
    two.site.machine.run(f"mv {own} {own}.kept && ln -s {target} {own}", user="eve")
    try:
        yield
    finally:
        two.site.machine.run(f"rm {own} && mv {own}.kept {own}", user="eve")


def through_proxy(two: Pair, path: str, method: str = "GET", **headers: str) -> str:
    """What the public port says to eve for exactly this path, which no client would send."""
    cookies = "; ".join(f"{one.name}={one.value}" for one in two.eve.http.cookies.jar)
    return str(two.attack("say", two.site.machine.port, request(path, method, Cookie=cookies, **headers)))


def test_the_proxy_goes_where_a_persons_link_leads(two):
    """It is let into everybody's folder. Here the attack works, on a socket where nobody asks for a token."""
    code = (
        "import http.server, os, socketserver\nos.umask(0)\n"
        "class Open(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'alices secret')\n"
        "    def address_string(self): return ''\n"
        "server = socketserver.UnixStreamServer('/srv/open/careless.sock', Open)\n"
        "print('ready'); server.serve_forever()"
    )
    two.site.machine.run("mkdir -p /srv/open && chown alice /srv/open && chmod 755 /srv/open")
    with two.victim(code), pointing(two, "/srv/open/careless.sock"):
        assert "alices secret" in through_proxy(two, "/user/eve/anything")


@pytest.mark.parametrize("target", ["server", HUB, WARDEN, API])
def test_through_a_link_in_ones_own_folder_nothing_is_gained(two, target):
    """The proxy and the hub look for eve's server and find alice's, the hub itself, the warden, the proxy's API."""
    token = two.eve.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'], end='')")
    paths = [
        "/user/eve/api/contents", "/user/eve/../alice/api/contents", "/user/eve/..%2falice/api/contents",
        "/user/eve/../../user/alice/api/contents", "/user/eve//user/alice/api/contents",
        "/user/eve/../../api/routes", "/user/eve/../../hub/api/users/alice", "/user/eve/api/routes",
    ]  # fmt: skip
    with pointing(two, two.socket("alice") if target == "server" else target):
        for path in paths:
            for more in ({}, {"Authorization": f"token {token}"}):
                answer = through_proxy(two, path, **more)
                assert status(answer) not in (200, 201, 204), (path, answer[:400])
                assert "plan.ipynb" not in answer
        # The hub looks at a server by connecting to it, too: what it would say is no question of the warden's.
        two.eve.get("hub/api/users/eve")
        assert two.site.answers()
    assert two.alice.run("6 * 7") == "42"
    assert two.eve.run("6 * 7") == "42"


def test_a_place_cannot_be_taken_before_its_owner_comes(two):
    """Paths that can be guessed are the attack; it works where the folder is everybody's."""
    assert two.attack("write", "/tmp/alice.sock") == WORKED
    for path in ("servers/carol", "servers/carol/_", "hub/hub.sock.new", "warden/registry/carol+_.json", "nursery/x"):
        for what in ("make_folder", "write"):
            assert two.attack(what, f"/run/manylab/{path}") in ("EACCES", "ENOENT", "EISDIR"), path
    for path in (HUB, WARDEN, API, two.socket("alice"), "/run/manylab/apply.lock"):
        assert two.attack("remove", path) in ("EACCES", "EPERM"), path
    for folder in ("/run/manylab/servers/alice", "/run/manylab/servers", "/run/manylab", "/run"):
        assert two.attack("rename", folder, folder + ".old") in ("EACCES", "EPERM", "EBUSY"), folder


def test_links_in_ones_own_folder_lead_root_and_the_next_server_nowhere(two):
    """A server's folder is emptied and made anew at each start; what eve plants there is hers, and so is the loss."""
    two.site.machine.run("mkdir -p /srv/kept && echo kept > /srv/kept/file && chmod -R a+rX /srv/kept")
    for target in ("/srv/kept", "/home/alice", "/run/manylab/servers/alice/_"):
        two.eve.stop_server()
        own = "/run/manylab/servers/eve"
        two.site.machine.run(f"rm -rf {own}/_; ln -s {target} {own}/_", user="eve", check=False)
        two.eve.open_lab()
        two.eve.kernel = ""
        assert two.eve.run("6 * 7") == "42"
        assert two.site.machine.read("/srv/kept/file") == "kept\n"
        found = two.site.machine.run(f"stat -c '%U %F' {own}/_ {own}/_/server.sock").stdout.splitlines()
        assert found == ["eve directory", "eve socket"]
        assert two.alice.run("6 * 7") == "42"


ODD_SERVER = """
import os, pathlib, socket, threading
path, stop = {path!r}, pathlib.Path.home() / "enough"
os.rename(path, path + ".kept")
odd = socket.socket(socket.AF_UNIX)
odd.bind(path)
os.chmod(path, 0o777)
odd.listen()
odd.settimeout(0.1)
def answer():
    while not stop.exists():
        try:
            connection, _ = odd.accept()
        except TimeoutError:
            continue
        connection.settimeout(1)
        with connection:
            try:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\\r\\nX-JupyterHub-Version: not-a-version\\r\\nContent-Length: 2\\r\\n\\r\\n"
                connection.sendall(head + b"{{}}")
            except OSError:
                pass
    os.rename(path + ".kept", path)
threading.Thread(target=answer).start()
"""


def test_what_a_persons_server_answers_does_not_keep_the_hub_from_starting(two):
    two.eve.run(ODD_SERVER.format(path=two.socket("eve")))
    try:
        before = hub_of(two)
        two.site.machine.run(f"kill -KILL {before}")
        wait_until(lambda: hub_of(two) not in (0, before) and two.site.answers(), 120, lambda: two.site.logs())
        two.site.wait_for_log("has the version 'not-a-version'")
        assert two.alice.run("6 * 7") == "42"
    finally:
        two.site.machine.write("/home/eve/enough", "")
    wait_until(lambda: not two.site.machine.exists(two.socket("eve") + ".kept"), 60, lambda: "her socket is back")
    assert two.eve.run("6 * 7") == "42"


def hub_of(two: Pair) -> int:
    return next((one.pid for one in two.site.machine.processes() if "manylab.hub" in one.argv), 0)


# other people's cookies, and other people's pages


def get(two: Pair, path: str, cookies: dict[str, str], method: str = "GET", **headers: str) -> int:
    """The status that somebody with these cookies gets through the proxy, no redirects followed."""
    jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return status(two.attack("say", two.site.machine.port, request(path, method, Cookie=jar, **headers)))


def cookies_of(client: Any) -> dict[str, str]:
    return {one.name: one.value for one in client.http.cookies.jar if one.name != "_xsrf"}


def test_a_cookie_opens_ones_own_server_and_nobody_elses(two):
    alices, eves = cookies_of(two.alice), cookies_of(two.eve)
    path = "/user/alice/api/contents"
    assert get(two, path, alices) == 200  # whoever has alice's cookies is alice; the path and the form are right
    renamed = {name.replace("eve", "alice"): value for name, value in eves.items()}
    mixed = {**eves, **renamed, "jupyterhub-session-id": alices["jupyterhub-session-id"]}
    for jar in ({}, eves, renamed, mixed):
        assert get(two, path, jar) in (302, 403), jar.keys()
        assert get(two, "/hub/api/users/alice", jar) in (302, 403, 404), jar.keys()
    # Signing in again on the way does not help: the hub asks whose server it is.
    answer = two.eve.http.get(f"{two.site.url}user/alice/api/contents")
    assert answer.status_code in (403, 404)
    answer = two.eve.http.get(f"{two.site.url}user/alice/lab")
    assert answer.status_code in (403, 404)
    assert "jupyter-config-data" not in answer.text


# Listens, at this address and port, and answers everybody with what they sent.
TOLD = """
import http.server, json
class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = json.dumps({{"path": self.path, "headers": self.headers.items()}}).encode()
        print("asked", flush=True)
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers()
        self.wfile.write(said)
    do_POST = do_GET
    def log_message(self, *said): pass
server = http.server.ThreadingHTTPServer({where!r}, Told)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_behind_a_link_to_a_port_of_eves_alices_server_sends_nothing_and_shows_nothing(two, address):
    """Alice follows a link into her own server, whose page would be eve's, with alice's cookie in eve's hands."""
    port = 18770
    code = TOLD.format(where=(address, port))
    with two.victim(code, user="eve") as listening:
        assert '"path": "/direct"' in two.attack("say", port, request("/direct"))
        listening.wait_for_output("asked", 10)
        heard = listening.output().count("asked")
        for path in (
            f"proxy/{port}/",
            f"proxy/127.0.0.1:{port}/",
            f"proxy/absolute/{port}/x",
            f"proxy/localhost:{port}/",
        ):
            answer = two.alice.server("GET", path)
            assert answer.status_code == 403 and f"{port}" in answer.text and "headers" not in answer.text, path
            assert two.alice.server("POST", path).status_code == 403
            progressive = two.alice.http.get(two.alice.server_url + path, headers={"Accept": "text/event-stream"})
            assert progressive.status_code == 403
        with two.alice.websocket(f"proxy/{port}/") as socket, pytest.raises(ConnectionClosed, match="another account"):
            socket.recv(timeout=60)
        assert listening.output().count("asked") == heard
        # Neither has eve's own server trouble with it, nor is it a secret what listens there.
        assert two.eve.server("GET", f"proxy/{port}/mine").json()["path"] == "/mine"


@pytest.mark.parametrize("user", ["alice", "root"])
def test_an_application_of_ones_own_or_of_roots_is_not_told_what_opens_the_server(two, user):
    port = 18771 if user == "alice" else 18772
    two.alice.http.cookies.set("own", "kept", path=urlsplit(two.alice.server_url).path)
    secrets = two.secrets().values()
    url = f"{two.alice.server_url}proxy/{port}/a"
    xsrf, token = two.alice.xsrf(url), two.secrets()["token"]
    assert xsrf and token
    with two.victim(TOLD.format(where=("127.0.0.1", port)), user=user):
        for query, more in (
            ("", {}),
            ("?x=1", {"X-XSRFToken": xsrf["X-XSRFToken"], "Referer": f"http://lab/?token={token}"}),
            (f"?token={token}&x=1", {"Authorization": f"token {token}", "Sec-Fetch-Mode": "websocket"}),
        ):
            for path in (f"proxy/{port}/a", f"proxy/absolute/{port}/a"):
                answer = two.alice.http.get(two.alice.server_url + path + query, headers=more)
                assert answer.status_code == 200, answer.text
                told = answer.json()
                assert told["path"].endswith("/a?x=1" if query else "/a")
                headers = {name.lower(): value for name, value in told["headers"]}
                assert headers["cookie"] == "own=kept"
                assert not {"authorization", "x-xsrftoken"} & set(headers)
                assert not [secret for secret in [*secrets, xsrf["X-XSRFToken"]] if secret in answer.text]
        # A password of the application's own.
        headers = two.alice.http.get(url, headers={"Authorization": "Basic YTpi"}).json()["headers"]
        assert ["Authorization", "Basic YTpi"] in headers
    assert two.alice.server("GET", f"proxy/{port}/a").status_code == 500


STOCK = """
import os, sys
os.makedirs("/tmp/stock", exist_ok=True); os.chdir("/tmp/stock")
sys.argv = ["jupyter-server", "--no-browser", "--port=18765", "--ServerApp.disable_check_xsrf=True",
            "--IdentityProvider.token=", "--ServerApp.allow_origin=*", "--ServerApp.allow_remote_access=True"]
print("ready", flush=True)
from jupyter_server.serverapp import main
main()
"""
NEW = {"type": "file", "format": "text", "content": "from elsewhere"}


def test_a_page_from_elsewhere_cannot_act_for_somebody_who_is_signed_in(two):
    """A browser sends alice's cookies along; the page from elsewhere cannot know her _xsrf."""
    python = "/opt/manylab/envs/server/current/bin/python"
    body = json.dumps(NEW)
    with two.site.machine.popen([python, "-I", "-u", "-c", STOCK], user="alice", cwd="/"):

        def stock() -> int:
            put = request("/api/contents/evil.txt", "PUT", body, **ELSEWHERE, Content_Type="application/json")
            return status(two.attack("say", 18765, put))

        wait_until(lambda: stock() in (200, 201), 60, lambda: "the stock server")
    alices = cookies_of(two.alice)
    url = f"{two.alice.server_url}api/contents/evil.txt"
    xsrf = two.alice.xsrf(url)["X-XSRFToken"]
    jar = "; ".join(f"{name}={value}" for name, value in {**alices, "_xsrf": xsrf}.items())
    path = "/user/alice/api/contents/evil.txt"

    def put(path: str, method: str = "PUT", **headers: str) -> int:
        more = {"Content_Type": "application/json", "Cookie": jar, **headers}
        return status(two.attack("say", two.site.machine.port, request(path, method, body, **more)))

    assert put(path, X_XSRFToken=xsrf) in (200, 201)  # her own page does
    for headers in (ELSEWHERE, {}, {"X_XSRFToken": "x" * len(xsrf)}, {"Sec_Fetch_Site": "same-site"}):
        assert put(path.replace("evil", "worse"), **headers) in REFUSED, headers
        for api in ("users/alice/server", "users/alice/tokens"):
            assert put(f"/hub/api/{api}", "POST", **headers) in REFUSED, (api, headers)
    assert "worse.txt" not in two.alice.server("GET", "api/contents").text


def test_a_page_from_elsewhere_can_read_nothing_and_opens_no_websocket(two):
    jar = "; ".join(f"{name}={value}" for name, value in cookies_of(two.alice).items())
    for path in ("/user/alice/api/contents", "/hub/api/user", "/hub/home"):
        for method in ("GET", "OPTIONS"):
            answer = two.attack("say", two.site.machine.port, request(path, method, Cookie=jar, **ELSEWHERE))
            assert "access-control-allow-origin" not in answer.lower(), (path, answer[:500])
    upgrade = {
        "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Cookie": jar,
    }  # fmt: skip
    path = f"/user/alice/api/kernels/{two.alice.kernel}/channels"
    own = request(path, **upgrade, Origin="http://lab").replace("Connection: close", "Connection: Upgrade")
    assert status(two.attack("say", two.site.machine.port, own, 3)) == 101
    evil = own.replace("http://lab", "https://evil.example.org")
    assert status(two.attack("say", two.site.machine.port, evil, 3)) == 403
