"""Settings are changed while people work: who keeps what is said, nothing that runs ends, and no address is dead.

`http.base_url` as in the README's own example, in both directions.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from support.build import SMALL
from support.client import Client
from support.looking import ask, in_memory
from support.site import Site

PASSWORD = "wonderland 1865"
MOVED = "The address of this site has changed"
# base_url before and after.
BOTH_WAYS = [("", "wsl/"), ("wsl/", "")]


@pytest.fixture(scope="module", params=["bookworm-none", pytest.param("trixie-systemd", marks=pytest.mark.soak)])
def site(request) -> Iterator[Site]:
    suite, init = request.param.split("-")
    with Site(suite, init, config=SMALL, machine=in_memory(suite, init, small=True)) as one:
        if init == "none":
            with one.up():
                yield one
        else:
            one.install()
            yield one


def settle(site: Site, **settings: str) -> dict[str, list[str]]:
    """`config set` and `apply`: what each running server keeps."""
    for key, value in settings.items():
        site.manylab("config", "set", key.replace("__", "."), value)
    return kept(ask(site, "apply"))


def kept(answer) -> dict[str, list[str]]:
    return {one["user"]: [change["key"] for change in one["keeps"]] for one in answer["servers"]}


def at(site: Site, base: str) -> None:
    """Serve under this base_url, with no server of before."""
    settle(site, http__base_url=f"/{base}")
    ask(site, "restart", "--servers", "--yes")
    site.base_url = f"/{base}"


def person(site: Site, name: str) -> Client:
    if site.machine.run(["id", name], check=False).returncode:
        site.add_user(name, PASSWORD)
    client = site.client(name, PASSWORD)
    client.sign_in()
    return client


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS, ids=["to-wsl", "from-wsl"])
def test_an_open_notebook_outlives_a_change_of_the_address_and_no_address_is_dead(site, before, after):
    at(site, before)
    root = site.url[: -len(before)] if before else site.url
    old, new = f"{root}{before}", f"{root}{after}"
    with person(site, "bob") as tab:
        tab.open_lab()
        tab.run("computed = 41")
        site.manylab("config", "set", "http.base_url", f"/{after}")
        assert kept(ask(site, "plan")) == {"bob": ["http.base_url"]}
        said = site.manylab("apply").stdout
        assert "bob: http.base_url" in said and "manylab restart --servers" in said
        site.base_url = f"/{after}"

        # The tab that was open: the page, its kernel, and a file that it saves.
        assert "jupyter-config-data" in tab.http.get(f"{old}user/bob/lab").text
        assert tab.run("print(computed + 1)") == "42\n"
        note = {"type": "file", "format": "text", "content": "unsaved"}
        assert tab.server("PUT", "api/contents/note.txt", json=note).status_code in (200, 201)

        with person(site, "bob") as later:
            # By a bookmark of the old address, without a cookie of the server's.
            assert "jupyter-config-data" in later.http.get(f"{old}user/bob/lab").text
            for page in ("", "hub/home", "hub/login"):
                assert later.http.get(f"{old}{page}").status_code == 200, page
            assert later.http.get(f"{root}{before}".rstrip("/") or root).status_code == 200
            # At the new one its owner is asked; nothing was ended.
            page = later.http.get(f"{new}user/bob/lab/tree/note.txt")
            assert page.status_code == 200 and MOVED in page.text
            assert f'href="/{before}user/bob/lab/tree/note.txt"' in page.text
            assert tab.run("print(computed)") == "41\n"

            xsrf = html.unescape(re.search(r'name="_xsrf" value="([^"]*)"', page.text)[1])
            action = re.search(r'<form method="post" action="([^"]*)"', page.text)[1]
            lab = later.http.post(urljoin(new, html.unescape(action)), data={"_xsrf": xsrf, "restart": ""})
            assert str(lab.url).startswith(f"{new}user/bob/lab"), lab.url
            for address in (f"{old}user/bob/lab", f"{new}user/bob/lab"):
                lab = later.http.get(address)
                assert "jupyter-config-data" in lab.text and str(lab.url).startswith(f"{new}user/bob/lab"), lab.url
            assert later.run("print(6 * 7)") == "42\n"
    assert ask(site, "plan")["servers"] == []
    later.http.close()


def test_somebody_else_is_not_asked_about_bobs_server_and_cannot_restart_it(site):
    at(site, "")
    root = site.url
    with person(site, "bob") as bob, person(site, "eve"):
        bob.open_lab()
        settle(site, http__base_url="/wsl/")
        site.base_url = "/wsl/"
        with person(site, "eve") as eve:
            page = eve.http.get(f"{root}wsl/user/bob/lab")
            assert page.status_code in (403, 404) and MOVED not in page.text
            token = {"_xsrf": eve.http.cookies.get("_xsrf", path="/wsl/hub/") or "", "restart": ""}
            assert eve.http.post(f"{root}wsl/hub/user/bob/lab", data=token).status_code in (403, 404)
        assert bob.run("print(1)") == "1\n"


def test_limits_and_variables_that_running_servers_keep_are_named_until_they_are_restarted(site):
    at(site, "")
    with person(site, "bob") as bob, person(site, "carol") as carol:
        bob.open_lab()
        carol.open_lab()
        site.manylab("config", "set", "limits.people.carol.tasks", "1000")
        found = settle(site, servers__tasks="2000", servers__environment='{GREETING = "hello"}', hub__log_level="DEBUG")
        assert found == {
            "bob": ["servers.environment.GREETING", "servers.tasks"],
            "carol": ["servers.environment.GREETING", "limits.people.carol.tasks"],
        }
        assert carol.run("import os; print(os.environ.get('GREETING'))") == "None\n"
        # One of them only, and by its name.
        assert ask(site, "restart", "--servers", "carol")["restarted"] == ["carol"]
        assert kept(ask(site, "plan")).keys() == {"bob"}
        carol.kernel = ""
        carol.open_lab()
        assert carol.run("import os; print(os.environ.get('GREETING'))") == "hello\n"
        assert ask(site, "apply", "--restart-servers")["restarted"] == ["bob"]
        assert ask(site, "plan")["servers"] == []
        assert site.manylab("restart", "--servers", "nobody", check=False).returncode == 1


def test_config_set_says_since_when_a_setting_counts(site):
    at(site, "")
    said = {key: ask(site, "config", "set", key, value)["counts"] for key, value in COUNTS.items()}
    assert said["http.subdomains"].startswith("at once; a running server")
    assert said["servers.memory"] == "from the next start of a server"
    assert said["envs.default.title"] == "at once"
    assert said["envs.default.preload"] == "from the next start of a kernel"
    for key in reversed(COUNTS):
        ask(site, "config", "unset", key)


COUNTS = {
    "http.public_url": "http://lab.localhost:8000",
    "http.subdomains": "true",
    "servers.memory": "2G",
    "envs.default.title": "Physics",
    "envs.default.preload": "[]",
}


def test_what_was_set_is_said_first_and_machinery_is_a_number(site):
    at(site, "")
    site.manylab("config", "set", "http.base_url", "/wsl")
    lines = site.manylab("plan").stdout.splitlines()
    assert lines[0] == 'http.base_url: "/" -> "/wsl"'
    assert any(re.match(r"Restarts .*hub.*; people's servers and kernels go on\.", line) for line in lines), lines
    assert any(re.match(r"Changes \d+ files?.* \(--files lists them\)\.", line) for line in lines), lines
    assert len(lines) < 10 and max(map(len, lines)) <= 120
    every = site.manylab("plan", "--files").stdout
    assert "~ file /var/lib/manylab/rendered/hub.json" in every and max(map(len, every.splitlines())) <= 130
    found = ask(site, "plan")
    assert found["settings"] == [{"key": "http.base_url", "before": "/", "after": "/wsl"}]
    assert "hub" in found["restarts"] and found["changes"]

    applied = site.manylab("apply")
    site.base_url = "/wsl/"
    assert 'http.base_url: "/" -> "/wsl"' in applied.stdout
    said = [line for line in applied.stderr.splitlines() if line.startswith("manylab: ")]
    assert said and all(re.match(r"manylab: (\[\d/6\] |every step is written to )", line) for line in said), said
    assert "update file /var/lib/manylab/rendered/hub.json" in site.machine.read("/var/log/manylab/apply.log")
    assert site.manylab("history").stdout.splitlines()[-1].endswith('http.base_url: "/" -> "/wsl"')
    last = ask(site, "history")["generations"][-1]
    assert last["settings"] == found["settings"] and last["current"]
