"""What everybody's JupyterLab brings, and what happens when somebody adds to it: tried first, and never half."""

from __future__ import annotations

import html
import json
import re
import time
import urllib.parse
from collections.abc import Iterator

import httpx
import pytest
from harness import wait_until

from support.build import SMALL
from support.client import Client
from support.looking import ask, in_memory, leftovers, planned, refusal
from support.site import Site
from support.wheels import wheel

SERVER = "/opt/manylab/envs/server"
CONFIG_FILE = "/etc/manylab/manylab.toml"
EXTENSION = """
def _jupyter_server_extension_points():
    return [{{"module": "{name}"}}]

def _load_jupyter_server_extension(app):
    {load}
"""
GOOD = """
    from jupyter_server.base.handlers import JupyterHandler
    from jupyter_server.utils import url_path_join
    from tornado.web import authenticated

    class Handler(JupyterHandler):
        @authenticated
        def get(self):
            self.finish("good morning")

    app.web_app.add_handlers(".*$", [(url_path_join(app.base_url, "good"), Handler)])
"""


# A nursery cannot be forked with a thread in it.
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"


def extension(folder, name: str, load: str, *, top: str = "") -> None:
    enabled = json.dumps({"ServerApp": {"jpserver_extensions": {name: True}}})
    files = {
        f"{name}.py": top + EXTENSION.format(name=name, load=load.strip()),
        f"{name}-1.0.data/data/etc/jupyter/jupyter_server_config.d/{name}.json": enabled,
    }
    wheel(folder, name, "1.0", files)


def labextension(folder, name: str, application: str, *, entry: str = "static/remoteEntry.js") -> None:
    package = {
        "name": name,
        "version": "1.0",
        "dependencies": {"@jupyterlab/application": application},
        "jupyterlab": {"extension": True, "_build": {"load": "static/remoteEntry.js", "extension": "./extension"}},
    }
    base = f"{name}-1.0.data/data/share/jupyter/labextensions/{name}"
    files = {f"{base}/package.json": json.dumps(package)} | ({f"{base}/{entry}": ""} if entry else {})
    wheel(folder, name, "1.0", files)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with Site("bookworm", config=f"# ours\n{SMALL}", machine=in_memory("bookworm", small=True)) as one, one.up():
        folder = tmp_path_factory.mktemp("wheels")
        extension(folder, "good_one", GOOD)
        extension(folder, "raises", "raise RuntimeError('its database is missing')")
        extension(folder, "missing", "import no_such_library")
        extension(folder, "loud", "pass", top="raise RuntimeError('not on this machine')")
        extension(folder, "quits", "import os; os._exit(0)")
        extension(folder, "threads", GOOD, top=THREAD)
        labextension(folder, "oldlab", "^2.0.0")
        labextension(folder, "newlab", "^4.0.0")
        labextension(folder, "hollow", "^4.0.0", entry="")
        one.machine.run(["mkdir", "-p", "/srv/wheels"])
        for path in folder.glob("*.whl"):
            one.machine.write(f"/srv/wheels/{path.name}", path.read_bytes())
        one.add_user("alice", "her password")
        one.wait_for_log("the nursery server is ready")
        yield one


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    with site.client("alice", "her password") as person:
        person.sign_in()
        person.open_lab()
        yield person


def local(name: str) -> str:
    return f"{name} @ file:///srv/wheels/{name}-1.0-py3-none-any.whl"


def state(site: Site) -> tuple[str, str]:
    return site.machine.run(["readlink", f"{SERVER}/current"]).stdout, site.machine.read(CONFIG_FILE)


def test_the_lab_comes_with_its_extensions_and_each_answers(site, alice):
    page = alice.open_lab()
    for name in (
        *("@jupyterlab/git", "@jupyter-lsp/jupyterlab-lsp", "@jupyter-server/resource-usage"),
        *("@jupyter-widgets/jupyterlab-manager", "jupyterlab_code_formatter", "@jupyterhub/jupyter-server-proxy"),
    ):
        assert name in page, name
    formatters = alice.server("GET", "jupyterlab_code_formatter/formatters").json()["formatters"]
    assert formatters["black"]["enabled"] and formatters["isort"]["enabled"]
    body = {"code": ["x=1"], "notebook": True, "formatter": "black", "options": {}}
    assert alice.server("POST", "jupyterlab_code_formatter/format", json=body).json()["code"][0]["code"] == "x = 1"
    usage = alice.server("GET", "api/metrics/v1").json()
    assert usage["rss"] > 1_000_000
    assert "pylsp" in alice.server("GET", "lsp/status").text
    assert alice.server("GET", "git-pull?repo=https%3A%2F%2Fexample.org%2Fcourse.git").status_code == 200
    assert "zh_CN" in alice.server("GET", "lab/api/translations").text


def test_a_link_puts_a_repository_nowhere_before_the_person_agreed_and_never_where_programs_look(site, alice):
    def asked(target: str, page: str = "git-pull") -> httpx.Response:
        query = urllib.parse.urlencode({"repo": "file:///srv/<course>", "branch": "main", "targetpath": target})
        return alice.server("GET", f"{page}?{query}")

    for target in (".config/git", "../alice/.ipython/profile_default/startup", "/tmp/x", "."):
        for page in ("git-pull", "git-pull/api"):
            assert asked(target, page).status_code == 400, (target, page)
    question = asked("course")
    assert "file:///srv/&lt;course&gt;" in question.text and "data-repo" not in question.text
    assert asked("course", "git-pull/api").status_code == 403
    forged = alice.http.post(str(question.url), data={"_xsrf": "guessed"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403
    form = {"_xsrf": html.unescape(re.search(r'name="_xsrf" value="([^"]*)"', question.text)[1])}
    agreed = alice.http.post(str(question.url), data=form, headers={"Referer": str(question.url)})
    assert agreed.status_code == 200 and 'data-targetpath="course"' in agreed.text
    # There is no git on this machine, which is what it then says.
    fetched = asked("course", "git-pull/api")
    assert fetched.status_code == 200 and "git" in fetched.text
    assert asked("another", "git-pull/api").status_code == 403


def test_the_language_server_knows_the_packages_of_kernels(alice):
    with alice.websocket("lsp/ws/pylsp") as socket:

        def send(method: str, params: object, number: int | None = None) -> None:
            message = {"jsonrpc": "2.0", "method": method, "params": params}
            socket.send(json.dumps(message if number is None else {**message, "id": number}))

        def answer(number: int) -> dict[str, object]:
            while True:
                said = json.loads(socket.recv(timeout=60))
                if said.get("id") == number and "method" not in said:
                    return said

        send("initialize", {"processId": None, "rootUri": "file:///home/alice", "capabilities": {}}, 1)
        assert "capabilities" in answer(1)["result"]
        send("initialized", {})
        settings = {"pylsp": {"plugins": {"jedi": {"environment": "/opt/manylab/envs/default/current"}}}}
        send("workspace/didChangeConfiguration", {"settings": settings})
        document = {"uri": "file:///home/alice/a.py", "languageId": "python", "version": 1}
        send("textDocument/didOpen", {"textDocument": {**document, "text": "import ipykernel\nipykernel.connect_\n"}})
        where = {"textDocument": {"uri": document["uri"]}, "position": {"line": 1, "character": 18}}
        send("textDocument/completion", where, 2)
        found = answer(2)["result"]
        items = found["items"] if isinstance(found, dict) else found
        assert any("connect_qtconsole" in one["label"] for one in items), items


def nursery_of(site, generation: str) -> bool:
    """Whether the nursery of servers runs out of that generation of the server environment."""
    lines = [" ".join(one.argv) for one in site.machine.processes()]
    return any("manylab.warm.nursery" in line and generation in line for line in lines)


# Before those that add something too: they take over its generation's byte code of all that is newer than the lock.
def test_an_extension_that_leaves_a_thread_does_not_keep_servers_from_starting(site, alice):
    ask(site, "env", "add", "server", local("threads"))
    alice.stop_server()
    assert "jupyter-config-data" in alice.open_lab()
    assert alice.server("GET", "good").text == "good morning"
    now = site.machine.run(["readlink", "-f", f"{SERVER}/current"]).stdout.strip()
    wait_until(lambda: nursery_of(site, now), 60, lambda: site.logs(30))
    ask(site, "env", "rollback", "server")
    alice.stop_server()
    alice.open_lab()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "its database is missing"),
        ("missing", "no_such_library"),
        ("loud", "not on this machine"),
        ("quits", "ended before it was done"),
        ("oldlab", "oldlab"),
        ("hollow", "hollow has nothing that could be loaded"),
    ],
)
def test_an_extension_that_does_not_work_is_not_given_to_anybody(site, alice, name, said):
    before = state(site)
    error = refusal(site, "env", "add", "server", local(name))
    assert error["code"] == "E-ENV" and said in error["message"], error
    assert state(site) == before
    assert leftovers(site.machine) == []
    assert alice.server("GET", "api/status").status_code == 200


def test_packages_that_do_not_fit_jupyterlab_change_nothing(site):
    before = state(site)
    error = refusal(site, "env", "add", "server", "jupyterlab<4")
    assert error["code"] == "E-ENV" and "jupyterlab" in error["message"]
    assert state(site) == before


@pytest.mark.parametrize("seconds", [1.5, 6.0, 11.0])
def test_whoever_kills_it_half_way_has_what_was_there(site, alice, seconds):
    before = state(site)
    words = ["env", "add", "server", local("good_one"), local("newlab")]
    with site.machine.popen(["/srv/manylab/manylab", *words], cwd="/") as running:
        time.sleep(seconds)  # the moment is what is tested
        running.signal(9)
        running.wait(20)
    # Written last: whatever the moment was, the file and the environment in use belong together after the next run.
    assert alice.server("GET", "api/status").status_code == 200
    site.manylab("apply")
    assert leftovers(site.machine) == []
    assert planned(site) == {}
    assert state(site) == before
    alice.stop_server()
    assert "newlab" not in alice.open_lab()


def test_an_extension_that_works_comes_with_the_next_start_and_goes_again(site, alice):
    first = state(site)
    # Without a number it would be the one that was made before this, whether or not anybody liked it.
    number = {one["name"]: one["number"] for one in ask(site, "env", "list")["environments"]}["server"]
    alice.start_kernel()
    alice.run("mine = 41")
    found = ask(site, "env", "add", "server", local("good_one"), local("newlab"))
    assert {one["name"] for one in found["packages"]} == {"good-one", "newlab"}
    assert "good_one" in site.machine.read(CONFIG_FILE)
    # Whoever works is left alone.
    assert alice.run("print(mine + 1)") == "42\n"
    assert alice.server("GET", "good").status_code == 404
    # She is told, where she works, and so is the administrator.
    told = alice.server("GET", "lab/api/update").json()["notification"]
    assert "JupyterLab has been updated here" in told["message"] and told["link"][1] == "/hub/home"
    assert [one["older"] for one in ask(site, "status")["servers"]] == [True]
    alice.stop_server()
    page = alice.open_lab()
    assert alice.server("GET", "lab/api/update").json()["notification"] is None
    assert [one["older"] for one in ask(site, "status")["servers"]] == [False]
    assert alice.server("GET", "good").text == "good morning"
    assert "newlab" in page
    # The new servers are warm.
    now = site.machine.run(["readlink", "-f", f"{SERVER}/current"]).stdout.strip()
    wait_until(lambda: nursery_of(site, now), 60, lambda: site.logs(30))
    assert planned(site) == {}
    back = ask(site, "env", "rollback", "server", str(number))
    assert {one["name"] for one in back["packages"]} == {"good-one", "newlab"}
    assert state(site)[0] == first[0] and "good_one" not in site.machine.read(CONFIG_FILE)
    alice.stop_server()
    alice.open_lab()
    wait_until(lambda: alice.server("GET", "good").status_code == 404, 60, lambda: "the old server")


def test_documents_can_be_edited_together_by_a_setting(site, alice):
    site.manylab("config", "set", "servers.collaboration", "true")
    site.manylab("apply", timeout=600)
    alice.stop_server()
    assert "@jupyter/collaboration-extension" in alice.open_lab()
    site.manylab("config", "unset", "servers.collaboration")
    site.manylab("apply", timeout=600)
