"""What a site does by itself: ends idle servers but no computation, keeps its secrets, and stops as a whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from harness import wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from support.build import SMALL
from support.client import Client
from support.looking import ask, in_memory
from support.site import Site

PASSWORD = "wonderland 1865"
DATABASE = "/var/lib/manylab/hub/jupyterhub.sqlite"
HUB_PYTHON = "/opt/manylab/envs/hub/current/bin/python"

# servers.idle_timeout is at least ten minutes, which no test can wait for, so the rendered file is changed by hand: the
# same hub, culler and servers with smaller numbers. Not smaller than this: a server looks every 30 s if it is busy,
# and reports that every 11 s (a quarter of the timeout).
QUICK = """
import json
with open("/var/lib/manylab/rendered/hub.json", "r+") as file:
    data = json.load(file)
    data["servers"].update(idle_timeout=45, idle_check=1)
    file.seek(0)
    json.dump(data, file)
    file.truncate()
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Up in the foreground, with three people."""
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", small=True)) as one:
        for name in ("alice", "bob", "carol"):
            one.add_user(name, PASSWORD)
        with one.up():
            yield one


def signed_in(site: Site, name: str) -> Client:
    client = site.client(name, PASSWORD)
    client.sign_in()
    return client


def running(site: Site) -> set[tuple[str, str]]:
    return {(server["user"], server["server"]) for server in ask(site, "status")["servers"]}


# secrets


def test_no_secret_is_in_an_argument_a_log_or_a_file_that_others_can_read(site):
    with signed_in(site, "alice") as alice, pytest.raises(Exception, match="wrong"):
        alice.open_lab()
        signed_in_wrongly = site.client("bob", "not quite " + PASSWORD)
        signed_in_wrongly.sign_in()
    token = site.machine.read("/var/lib/manylab/hub/proxy_token").strip()
    cookie = site.machine.read("/var/lib/manylab/hub/cookie_secret").strip()
    assert len(token) == len(cookie) == 64 and token != cookie
    secrets = [token, cookie, PASSWORD]
    server = next(server["pid"] for server in ask(site, "status")["servers"] if server["user"] == "alice")
    variables = site.machine.read(f"/proc/{server}/environ").split("\0")
    secrets += [line.partition("=")[2] for line in variables if line.startswith("JUPYTERHUB_API_TOKEN=")]
    assert len(secrets) == 4
    for process in site.machine.processes():
        assert not any(secret in " ".join(process.argv) for secret in secrets), process
    for secret in secrets:
        site.machine.write("/root/secret", secret, mode=0o600)
        found = "grep -rlsFf /root/secret /var/log /etc /opt/manylab/etc /opt/manylab/share /tmp /var/tmp"
        assert site.machine.run(found, check=False).stdout == ""
        # Alice's server keeps her own token in her own folder there, which nobody else can look into.
        site.machine.write("/home/bob/secret", secret, mode=0o600, owner="bob")
        assert site.machine.run("grep -rlsFf /home/bob/secret /run", user="bob", check=False).stdout == ""
        holders = "grep -rlsFf /root/secret /var/lib/manylab | xargs -r stat -c '%a %n'"
        for line in site.machine.run(holders, check=False).stdout.splitlines():
            assert line.startswith("600 "), line
    for name in ("hub/proxy_token", "hub/cookie_secret", "proxy/token.env", "hub/jupyterhub.sqlite"):
        mode, folder = (
            site.machine.run(["stat", "-c", "%a", f"/var/lib/manylab/{path}"]).stdout
            for path in (name, name.split("/")[0])
        )
        assert (mode, folder) == ("600\n", "700\n"), name


# the proxy


def test_a_tab_that_is_closed_is_no_error_of_the_proxy_and_without_the_hub_there_is_still_a_page(site):
    def proxies() -> list[int]:
        return [
            one.pid for one in site.machine.processes() if any("configurable-http-proxy" in word for word in one.argv)
        ]

    before = proxies()
    with signed_in(site, "alice") as alice:
        alice.open_lab()
        alice.run("1")
        for path in (f"api/kernels/{alice.kernel}/channels", "api/events/subscribe"):
            with alice.websocket(path) as channel:
                # As a browser that is killed, or whose network is gone: a reset in the place of a good-bye.
                channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                channel.socket.close()
        assert alice.run("6 * 7") == "42"
        [hub] = hubs(site)
        site.machine.run(f"kill -STOP {hub}; mv /run/manylab/hub/hub.sock /run/manylab/hub/away")
        try:
            page = alice.get("hub/home")
        finally:
            site.machine.run(f"mv /run/manylab/hub/away /run/manylab/hub/hub.sock; kill -CONT {hub}")
    assert page.status_code == 503 and "does not answer at the moment" in page.text and "暂时没有响应" in page.text
    assert "Uncaught" not in site.logs(400) and proxies() == before


# editors


def test_an_editor_runs_a_cell_with_a_token_and_no_cookie_as_vs_code_does(site):
    # JupyterHub makes no token for somebody whom it has never seen.
    signed_in(site, "bob").http.close()
    with httpx.Client(base_url=f"{site.url}", trust_env=False, timeout=60) as code:
        # Its JupyterHub extension makes a token with name and password, and starts the server.
        assert "version" in code.get("hub/api").json()
        asked = {"auth": {"username": "bob", "password": PASSWORD}, "note": "an editor"}
        made = code.post("hub/api/users/bob/tokens", json=asked)
        token, headers = made.json()["token"], {"Authorization": f"token {made.json()['token']}"}
        assert code.get("hub/api/users/bob?include_stopped_servers", headers=headers).json()["name"] == "bob"
        assert code.post("hub/api/users/bob/server", headers=headers).status_code in (201, 202, 400)
        server = f"{site.url}user/bob/"
        wait_until(lambda: code.get(f"{server}api/kernelspecs", headers=headers).status_code == 200, 60, "a server")
        # From here on it is as its Jupyter extension does it: REST by header, the websocket by its address.
        wanted = {"path": "x.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
        session = code.post(f"{server}api/sessions", headers=headers, json=wanted).json()
        channels = f"{server.replace('http', 'ws', 1)}api/kernels/{session['kernel']['id']}/channels?session_id=1"
        said = [run_in_kernel(f"{channels}&token={token}", {}, None), run_in_kernel(channels, headers, V1)]
        assert said == ["42\n", "42\n"]
        with pytest.raises(InvalidStatus, match="403"):
            run_in_kernel(channels, {}, None)
        with pytest.raises(InvalidStatus, match="403"):
            run_in_kernel(f"{channels}&token={'0' * len(token)}", {}, None)
        # A page is not opened by its address: whoever follows a link would be somebody else.
        assert code.get(f"{server}lab?token={token}", headers={"Sec-Fetch-Mode": "navigate"}).status_code == 302
        assert code.delete(f"{server}api/sessions/{session['id']}", headers=headers).status_code == 204
    assert token not in site.machine.run("cat /var/log/manylab/*.log").stdout


V1 = "v1.kernel.websocket.jupyter.org"


def run_in_kernel(address: str, headers: dict[str, str], protocol: str | None) -> str:
    """What a cell prints, in Jupyter's first protocol (JSON) or in V1 (its parts, after where each begins)."""
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "1", "version": "5.3"}
    content = {"code": "print(6 * 7)", "silent": False, "allow_stdin": False}
    with connect(
        address, additional_headers=headers, proxy=None, subprotocols=[Subprotocol(protocol)] if protocol else None
    ) as channel:
        assert channel.subprotocol == protocol
        if protocol:
            parts = [b"shell", *(json.dumps(part).encode() for part in (header, {}, {}, content))]
            places = itertools.accumulate(map(len, parts), initial=8 * (len(parts) + 2))
            channel.send(struct.pack(f"<{len(parts) + 2}Q", len(parts) + 1, *places) + b"".join(parts))
        else:
            parts = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
            channel.send(json.dumps(parts))
        while True:
            answer = channel.recv(timeout=60)
            if isinstance(answer, bytes):
                number = struct.unpack_from("<Q", answer)[0]
                places = struct.unpack_from(f"<{number}Q", answer, 8)
                if json.loads(answer[places[1] : places[2]])["msg_type"] == "stream":
                    return str(json.loads(answer[places[4] : places[5]])["text"])
            elif json.loads(answer)["msg_type"] == "stream":
                return str(json.loads(answer)["content"]["text"])


# named servers


def test_named_servers_are_off_until_the_setting_allows_them(site):
    with signed_in(site, "bob") as bob:
        answer = bob.api("POST", "users/bob/servers/extra")
        assert answer.status_code in (400, 403) and "not enabled" in answer.text
    site.configure(SMALL + "[servers]\nnamed = true\nnamed_limit = 1\n")
    ask(site, "apply")
    site.wait_until_it_answers()
    with signed_in(site, "bob") as bob:
        assert bob.api("POST", "users/bob/servers/extra").status_code in (201, 202)
        wait_until(lambda: ("bob", "extra") in running(site), 60, "a named server")
        refused = bob.api("POST", "users/bob/servers/another")
        assert refused.status_code == 400 and "maximum" in refused.text
        assert bob.api("DELETE", "users/bob/servers/extra").status_code in (202, 204)
        wait_until(lambda: ("bob", "extra") not in running(site), 60, "the end of the named server")


# culling


def test_a_server_that_nobody_uses_is_ended_though_a_tab_is_open_and_a_silent_computation_is_not(site):
    site.configure(SMALL + '[people]\nadmins = ["alice"]\n[servers]\nidle_timeout = "10m"\n')
    ask(site, "apply")
    site.machine.run(["/usr/bin/python3", "-c", QUICK])
    restart_hub(site)
    # A server that was started before reports its activity as seldom as it was told then.
    for name, _ in running(site):
        with signed_in(site, name) as client:
            client.stop_server()
    # Busy for 75 s without a word, and nobody looks.
    busy = "import time; end = time.time() + 75\nwhile time.time() < end: pass\nopen('done', 'w').write('done')"
    with signed_in(site, "alice") as alice, signed_in(site, "bob") as bob, signed_in(site, "carol") as carol:
        bob.open_lab()
        bob.run("kept = 1")
        begun = time.monotonic()
        carol.open_lab()
        terminal = carol.server("POST", "api/terminals", json={}).json()["name"]
        alice.open_lab()
        with pytest.raises(AssertionError, match="no answer of the kernel"):
            alice.cell(busy, timeout=2)
        with tab(bob), carol.websocket(f"terminals/websocket/{terminal}") as keys:
            while ("bob", "") in running(site):
                assert time.monotonic() - begun < 130, f"bob's idle server still runs:\n{site.logs()}"
                keys.send(json.dumps(["stdin", "#"]))
                time.sleep(2)
        assert time.monotonic() - begun >= 45
        assert {("alice", ""), ("carol", "")} <= running(site), "her kernel computes; she types"
        # bob is told: on the hub's pages, and in the tab that still asks.
        said = "was stopped at"
        assert said in bob.get("hub/home").text and "for 45 s no code ran" in bob.get("hub/home").text
        assert said in bob.get("user/bob/lab").text
        refused = bob.get("user/bob/api/kernels", headers={"Accept": "application/json"})
        assert refused.status_code == 424 and said in refused.json()["message"]
        assert said not in alice.get("user/bob/api/kernels", headers={"Accept": "application/json"}).text
        with site.client("bob", PASSWORD, language="zh-CN") as chinese:
            chinese.sign_in()
            assert "45 秒内没有代码运行" in chinese.get("hub/home").text
            assert "启动服务器" in chinese.get("user/bob/lab").text
        restart_hub(site)
        assert said in bob.get("hub/home").text
        bob.open_lab()
        assert said not in bob.get("hub/home").text
        # An admin is another who may have it stopped.
        alice.api("DELETE", "users/bob/server").raise_for_status()
        wait_until(lambda: "by an admin" in bob.get("hub/home").text, 60, "the sentence about the admin")
        while not site.machine.exists("/home/alice/done"):
            assert ("alice", "") in running(site), "her kernel computes"
            time.sleep(1)
    ask(site, "apply")
    site.wait_until_it_answers()


@contextlib.contextmanager
def tab(client: Client) -> Iterator[None]:
    """The Lab in a tab that is left open: connected to its kernel, and asking what it was seen to ask, more often."""
    asked = ("api/kernels", "api/sessions", "api/terminals", "api/kernelspecs", "api/me", "lab/api/workspaces")
    asked += ("api/contents?content=1&hash=0", "api/metrics/v1")
    over = threading.Event()

    def ask_on() -> None:
        while not over.wait(1):
            for path in asked:
                client.server("GET", path)

    thread = threading.Thread(target=ask_on)
    with client.websocket(f"api/kernels/{client.kernel}/channels"):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def hubs(site: Site) -> list[int]:
    return [process.pid for process in site.machine.processes() if "manylab.hub" in process.argv]


def restart_hub(site: Site) -> None:
    """Kill the hub; the supervisor starts it again."""
    [before] = hubs(site)
    site.machine.run(f"kill -KILL {before}")
    wait_until(lambda: hubs(site) not in ([], [before]), 60, "another hub")
    site.wait_until_it_answers()


# the database

DOWNGRADE = """
import sys
from alembic import command
from alembic.config import Config
from jupyterhub import dbutil
with dbutil._temp_alembic_ini("sqlite:///" + sys.argv[1]) as ini:
    command.downgrade(Config(ini), "-1")
"""
REVISION = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("select version_num from alembic_version").fetchone()[0])
"""


def revision(site: Site, path: str) -> str:
    return site.machine.run(["/usr/bin/python3", "-c", REVISION, path]).stdout.strip()


# stopping as a whole; the last tests, since each ends the site


def test_the_database_is_copied_before_its_schema_is_upgraded_and_killing_up_stops_everything():
    with Site("bookworm", config=SMALL, machine=in_memory("bookworm", small=True)) as site:
        site.add_user("alice", PASSWORD)
        with site.up() as up, signed_in(site, "alice") as alice:
            alice.open_lab()
            alice.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321']); None")
            up.signal(signal.SIGKILL)
            up.wait(30)
            site.wait_until_nothing_is_left()
            assert not site.answers()

        now = revision(site, DATABASE)
        site.machine.run([HUB_PYTHON, "-c", DOWNGRADE, DATABASE], user="manylab", cwd="/tmp")
        old = revision(site, DATABASE)
        assert old != now
        with site.up(), signed_in(site, "alice") as alice:
            assert revision(site, DATABASE) == now
            alice.open_lab()
        copies = site.machine.run(f"ls {DATABASE}.* /var/lib/manylab/backups/* 2>/dev/null", check=False).stdout.split()
        assert [revision(site, copy) for copy in copies if not copy.endswith(("-wal", "-shm", "-journal"))] == [old]
        for copy in copies:
            assert site.machine.run(["stat", "-c", "%a", copy]).stdout == "600\n"
