"""The recipe's init script, under a real sysvinit: LSB's actions and exit codes, boot, and no process left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Completed, Process, wait_until

from support.client import Client
from support.site import Site

PASSWORD = "wonderland 1865"
SCRIPT = "/etc/init.d/manylab"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with Site(request.param, "sysv") as one:
        one.install()
        one.add_user("alice", PASSWORD)
        yield one


@pytest.fixture
def running(site: Site) -> Site:
    """The site, up, whatever the test before did to it."""
    if not site.answers():
        script(site, "start")
        site.wait_until_it_answers()
    return site


@pytest.fixture
def alice(running: Site) -> Iterator[Client]:
    """She works: her kernel remembers x = 41."""
    with running.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.run("x = 41")
        yield client


def wait_until_reachable(site: Site, client: Client) -> None:
    """The site answers, and the hub has told a new proxy the way to this person's server, a moment later."""

    def look() -> bool:
        answer = client.server("GET", "api/status")
        return answer.status_code == 200 and str(answer.url) == f"{client.server_url}api/status"

    site.wait_until_it_answers()
    wait_until(look, 60, "the way to the server")


def script(site: Site, *words: str, user: str | None = None, check: bool = True) -> Completed:
    """The script as an init system runs it: with an empty environment, somewhere."""
    return site.machine.run(["env", "-i", SCRIPT, *words], user=user, check=check, cwd="/usr")


def supervisors(site: Site) -> list[Process]:
    return [process for process in site.machine.processes() if "manylab.supervise" in process.argv]


def test_status_start_and_stop_answer_with_lsbs_codes(running):
    assert script(running, "status").returncode == 0
    assert script(running, "start").returncode == 0, "starting what runs is fine"
    pids = {process.pid for process in supervisors(running)}
    assert len(pids) >= 1
    assert script(running, "stop").returncode == 0
    assert running.left_behind() == [], "stop waits until everything is gone"
    assert script(running, "status", check=False).returncode == 3
    assert running.manylab("status", check=False).returncode == 3
    assert script(running, "stop").returncode == 0, "stopping what is stopped is fine"
    assert script(running, "try-restart").returncode == 0
    assert running.left_behind() == [], "try-restart starts nothing"
    assert script(running, "start").returncode == 0
    assert running.answers(), "start waits until the site answers"
    assert script(running, "nonsense", check=False).returncode in (2, 3)
    assert script(running, check=False).returncode == 2


def test_an_ordinary_account_sees_the_status_and_may_not_change_it(running):
    running.machine.run("id somebody || useradd -m somebody")
    before = {process.pid for process in supervisors(running)}
    assert script(running, "status", user="somebody").returncode == 0
    for action in ("start", "stop", "restart", "force-reload"):
        assert script(running, action, user="somebody", check=False).returncode == 4, action
    assert {process.pid for process in supervisors(running)} == before


@pytest.mark.parametrize("action", ["restart", "force-reload"])
def test_people_work_on_through(running, alice, action):
    assert script(running, action).returncode == 0
    wait_until_reachable(running, alice)
    assert alice.run("x") == "41"
    assert alice.start_server() == 0.0, "the hub knows that it runs"


def test_stop_leaves_no_process_not_even_what_a_kernel_put_into_the_background(running, alice):
    alice.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321']); None")
    wait_until(
        lambda: any(process.argv == ("sleep", "4321") for process in running.machine.processes()),
        20,
        lambda: "what the kernel put into the background",
    )
    script(running, "stop")
    assert running.left_behind() == []


def kill(site: Site, victims: list[Process]) -> None:
    """SIGKILL to all of them, as if at once."""
    site.machine.run(["kill", "-KILL", *(str(victim.pid) for victim in victims)])


def test_a_supervisor_that_is_killed_is_replaced(running, alice):
    victims = supervisors(running)
    kill(running, victims[:1])
    wait_until(lambda: script(running, "status", check=False).returncode == 0 and running.answers(), 60, "recovery")
    wait_until_reachable(running, alice)
    assert alice.run("x") == "41"


def test_when_everything_that_supervises_is_killed_status_is_1_and_start_mends_it(running, alice):
    kill(running, supervisors(running))
    wait_until(lambda: not supervisors(running), 60, "their end")
    done = script(running, "status", check=False)
    assert done.returncode == 1, done
    assert script(running, "start").returncode == 0
    assert script(running, "status").returncode == 0
    wait_until_reachable(running, alice)
    assert alice.run("x") == "41"
    script(running, "stop")
    assert running.left_behind() == []


@pytest.mark.timeout(300)
def test_it_starts_with_the_machine(site):
    machine = site.machine
    assert machine.run("ls /etc/rc2.d").stdout.count("manylab") == 1
    assert "no LSB" not in machine.run("update-rc.d manylab defaults 2>&1").stdout
    machine.reboot()
    site.wait_until_it_answers(timeout=60)
    with site.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        assert alice.run("print('hello')") == "hello\n"
    assert "Nothing to change" in site.manylab("apply").stdout, "a reboot leaves nothing to mend"
