"""The recipe's rows that need no init system: the file that is written once, dummy, a taken port, WSL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from harness import Machine, Running, wait_until

from support.build import CHECKOUT, site_root
from support.client import Client, Refused
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG = "/etc/manylab/manylab.toml"


def test_the_configuration_is_written_once_with_every_setting_explained_and_then_belongs_to_its_owner():
    with Machine(site_root("trixie")) as machine:

        def manylab(*words: str) -> str:
            return machine.run([f"{CHECKOUT}/manylab", *words], cwd="/").stdout

        first = machine.read(CONFIG)
        assert {line for line in first.splitlines() if line and not line.startswith("#")} >= {
            "[http]",
            "[people]",
            "[envs.default]",
        }
        assert not re.search(r"^\w", first, re.MULTILINE), "everything is explained, nothing is set"
        for setting in ("base_url", "admin_access", "authenticator", "group", "db_url"):
            assert re.search(rf"^#{setting} = ", first, re.MULTILINE), setting
        assert machine.run(["stat", "-c", "%a %U", CONFIG]).stdout == "600 root\n"
        machine.write(CONFIG, first + "# my own words\n", mode=0o600)
        manylab("config", "set", "http.base_url", "/wsl")
        manylab("apply")
        assert machine.read(CONFIG).count("# my own words\n") == 1
        assert 'base_url = "/wsl"' in machine.read(CONFIG)
        assert (
            json.loads(machine.read("/var/lib/manylab/rendered/hub.json"))["traits"]["JupyterHub.bind_url"]
            == "http://127.0.0.1:8000/wsl/"
        )
        assert "Nothing to change" in manylab("apply")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site("bookworm") as one:
        one.add_user("alice", PASSWORD)
        yield one


def test_the_dummy_authenticator_is_refused_where_others_can_reach_it_and_works_on_loopback(site):
    site.configure('[people]\nauthenticator = "dummy"\n[http]\naddress = "0.0.0.0"\ninsecure = true\n')
    for command in ("apply", "up", "install", "plan"):
        done = (
            site.manylab(command, "--wait", "1", check=False)
            if command != "plan"
            else site.manylab(command, check=False)
        )
        assert done.returncode == 1
        assert "the dummy authenticator lets anybody be anybody, and others can reach 0.0.0.0" in done.stderr
    site.configure('[people]\nauthenticator = "dummy"\n')
    try:
        with site.up():
            with site.client("alice", "anything at all") as alice:
                alice.sign_in()
            with site.client("root", "anything at all") as root, pytest.raises(Refused):
                root.sign_in()
            site.machine.add_account("stranger")
            with site.client("stranger", "anything at all") as stranger, pytest.raises(Refused):
                stranger.sign_in()
    finally:
        site.configure("")


SQUATTER = "exec /usr/bin/python3 -m http.server --bind 127.0.0.1 {port}"


@pytest.mark.parametrize("command", ["up", "install"])
def test_a_taken_port_is_reported_with_the_program_and_pid_that_have_it(site, command):
    machine = site.machine
    with machine.popen(SQUATTER.format(port=machine.port)) as squatter:
        pid = pid_of_listener(site, squatter)
        done = site.manylab(command, check=False)
        assert done.returncode == 1
        assert re.search(
            rf"^E-PORT-TAKEN: port {machine.port} on 127\.0\.0\.1 is used by python3\S* \(pid {pid}\)$",
            done.stderr,
            re.MULTILINE,
        )
        assert "next:" in done.stderr and "http.port" in done.stderr
        assert "Traceback" not in done.stderr
    assert not machine.exists("/etc/init.d/manylab"), "nothing was installed"
    assert not machine.exists("/var/lib/manylab/installed.json")


def pid_of_listener(site: Site, squatter: Running) -> int:
    """The pid of the squatter, as soon as it listens."""
    listens = f"grep -qi ':{site.machine.port:04X} 00000000:0000 0A' /proc/net/tcp"
    wait_until(lambda: site.machine.run(listens, check=False).returncode == 0, 60, squatter.output)
    (pid,) = [process.pid for process in site.machine.processes() if "http.server" in process.argv]
    return pid


@pytest.mark.parametrize("suite", ["trixie"])
def test_without_any_init_system_the_site_is_a_service_by_its_script_as_on_wsl(suite):
    with Site(suite) as site:
        machine = site.machine
        said = site.install().stdout
        assert "/etc/init.d/manylab" in said and "Windows" not in said, "this is no WSL"
        assert not machine.exists("/etc/wsl.conf")
        assert machine.run(["stat", "-c", "%a %U", "/etc/init.d/manylab"]).stdout == "755 root\n"
        assert machine.run("which service", check=False).returncode == 0
        assert machine.run(["service", "manylab", "status"]).returncode == 0
        site.add_user("alice", PASSWORD)
        with site.client("alice", PASSWORD) as alice:
            alice.sign_in()
            opens(alice)
            machine.run(["service", "manylab", "restart"])
            site.wait_until_it_answers()
            wait_until(
                lambda: str(alice.server("GET", "api/status").url) == f"{alice.server_url}api/status",
                10,
                "the way to the server",
            )
            assert alice.run("x") == "41"
        machine.run(["service", "manylab", "stop"])
        site.wait_until_nothing_is_left()
        assert machine.run(["service", "manylab", "status"], check=False).returncode == 3
        assert site.manylab("status", check=False).returncode == 3
        machine.run(["service", "manylab", "start"])
        assert site.answers()
        taken = site.manylab("up", check=False)
        assert taken.returncode == 1 and "E-RUNNING" in taken.stderr


def opens(client: Client) -> None:
    client.open_lab()
    client.run("x = 41")
