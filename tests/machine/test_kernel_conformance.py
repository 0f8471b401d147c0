"""A warm kernel cannot be told from a cold one: the same cells print the same in both, through a real site.

The cold one is started by jupyter_client itself, from a kernel spec of the person's own with the very command of the
site's. tests/unit/test_kernels_warm_and_cold.py does the same without a site, in seconds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.cells import SETUP, cells, difference, without_chance
from support.client import CellFailed, Client
from support.site import Site

pytestmark = pytest.mark.timeout(600)

SPECS = "/opt/manylab/share/jupyter/kernels"
OWN = "/home/alice/.local/share/jupyter/kernels"
FORGET = "rm -rf /home/alice/.ipython /home/alice/.cache /home/alice/.config /tmp/mpl*"


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.soak)])
def site(request) -> Iterator[Site]:
    with Site(request.param) as site:
        site.add_user("alice", "her password")
        spec = site.machine.read(f"{SPECS}/python3/kernel.json")
        put(site, f"{OWN}/reference/kernel.json", spec)
        with site.up():
            site.wait_for_log("the nursery default is ready")
            yield site


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    with site.client("alice", "her password") as alice:
        alice.sign_in()
        alice.open_lab()
        yield alice


@pytest.fixture(autouse=True)
def nothing_runs_afterwards(alice):
    yield
    for kernel in alice.server("GET", "api/kernels").json():
        alice.server("DELETE", f"api/kernels/{kernel['id']}")


def put(site: Site, path: str, text: str) -> None:
    """A file of alice's."""
    site.machine.run(["install", "-d", "-o", "alice", "-g", "alice", path.rpartition("/")[0]])
    site.machine.run("chown -R alice:alice /home/alice")
    site.machine.write(path, text, owner="alice")


def kernel(alice: Client, spec: str = "python3") -> tuple[str, int]:
    """Start one: its id, its process."""
    found = alice.start_kernel(spec)
    return found, int(alice.run("import os; print(os.getpid())"))


def parent(alice: Client) -> str:
    """The program of the kernel's parent: the nursery, or the server."""
    line = alice.run("import os; print(open(f'/proc/{os.getppid()}/cmdline').read())")
    return "nursery" if "nursery.py" in line and '"kernel"' in line else "server"


def printed(alice: Client, spec: str) -> dict[str, str]:
    """What each cell shows in a new kernel."""
    name, _ = kernel(alice, spec)
    alice.run(SETUP)
    return {cell: shown(alice, name, code) for cell, code in cells().items()}


def shown(alice: Client, name: str, code: str) -> str:
    """What a cell shows, but for names of this one kernel."""
    try:
        text = alice.run(code)
    except CellFailed as failed:
        text = f"failed: {failed}"
    return without_chance(text, (name, "KERNEL"), (f"k{name[:8]}", "SOCKET"))


def until_printed(alice: Client, code: str) -> str:
    """Run it, and wait for what it prints, which may come when the cell is done."""
    with alice.websocket(f"api/kernels/{alice.kernel}/channels") as socket:
        socket.send(request(code))
        while (said := json.loads(socket.recv(timeout=60)))["msg_type"] != "stream":
            pass
    return str(said["content"]["text"])


def request(code: str) -> str:
    """A cell, as the Lab sends it."""
    header = {"msg_id": "m", "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    return json.dumps(message)


def test_every_cell_prints_the_same_in_a_warm_and_in_a_cold_kernel(site, alice):
    cold = printed(alice, "reference")
    assert parent(alice) == "server"
    site.machine.run(FORGET)
    warm = printed(alice, "python3")
    assert parent(alice) == "nursery"
    assert not difference(cold, warm), difference(cold, warm)


def test_a_cell_that_comes_first_prints_the_same_in_both(site, alice):
    found: dict[str, dict[str, str]] = {"reference": {}, "python3": {}}
    for spec, printed in found.items():
        for cell, code in cells("first_cells.txt").items():
            name = alice.start_kernel(spec)
            printed[cell] = shown(alice, name, code)
            assert parent(alice) == ("server" if spec == "reference" else "nursery"), cell
            alice.server("DELETE", f"api/kernels/{name}")
            site.machine.run(f"{FORGET}; rm -rf /home/alice/*.py /home/alice/x.*")
    assert not difference(found["reference"], found["python3"]), difference(found["reference"], found["python3"])


def test_a_kernel_of_the_site_that_starts_cold_is_like_any_other(site, alice):
    put(site, "/home/alice/matplotlibrc", "lines.linewidth: 7\n")
    try:
        name, _ = kernel(alice)
        assert parent(alice) == "server"
        assert alice.run("import matplotlib; print(matplotlib.rcParams['lines.linewidth'])") == "7.0\n"
        site.wait_for_log(f"kernel {name} of default starts cold: /home/alice/matplotlibrc")
    finally:
        site.machine.run(["rm", "/home/alice/matplotlibrc"])
    assert alice.run("import sys; print(sys.orig_argv[1:4], sys.argv[0].rpartition('/')[2])") == (
        "['-Xfrozen_modules=off', '-m', 'ipykernel_launcher'] ipykernel_launcher.py\n"
    )


def test_a_package_that_was_added_to_the_environment_is_there_at_once(site, alice):
    kernel(alice)
    folder = alice.run("import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    site.machine.write(f"{folder}/customized.pth", "import sys; sys.customized = True\n")
    try:
        kernel(alice)
        assert parent(alice) == "server"
        assert alice.run("import sys; print(sys.customized)") == "True\n"
    finally:
        site.machine.run(["rm", f"{folder}/customized.pth"])
    kernel(alice)
    assert parent(alice) == "nursery"


def test_no_kernel_of_the_site_listens_on_tcp(site, alice):
    listening = "[line for t in ('tcp', 'tcp6') for line in open(f'/proc/net/{t}') if line.split()[3] == '0A']"
    ends = "os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
    mine = f"{{{ends} if os.path.lexists(f'/proc/self/fd/{{n}}')}}"
    for prepare, who in (("true", "nursery"), ("touch /home/alice/matplotlibrc", "server")):
        site.machine.run(prepare)
        kernel(alice)
        assert parent(alice) == who
        alice.run(f"import os; mine = {mine}; found = [l for l in {listening} if f'socket:[{{l.split()[9]}}]' in mine]")
        assert alice.run("print(found)") == "[]\n"
        assert "by the child" in until_printed(
            alice, "if os.fork() == 0: print('by the child', flush=True); os._exit(0)"
        )
    site.machine.run("rm -f /home/alice/matplotlibrc")


def test_two_kernels_draw_different_numbers(alice):
    code = (
        "import random, numpy; print(random.random(), numpy.random.rand(), numpy.random.get_bit_generator().seed_seq)"
    )
    first, second = ((kernel(alice), alice.run(code))[1].split(" ", 2) for _ in range(2))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_an_interrupt_through_the_server_stops_a_cell(alice):
    name, _ = kernel(alice)
    with alice.websocket(f"api/kernels/{name}/channels") as socket:
        socket.send(request("print('go', flush=True)\nwhile True: pass"))
        while json.loads(socket.recv(timeout=60))["msg_type"] != "stream":
            pass
        assert alice.server("POST", f"api/kernels/{name}/interrupt").status_code == 204
        while (answer := json.loads(socket.recv(timeout=60)))["msg_type"] != "execute_reply":
            pass
    assert answer["content"]["ename"] == "KeyboardInterrupt"


def test_a_restart_gives_a_new_warm_kernel(alice):
    name, before = kernel(alice)
    alice.run("x = 1")
    assert alice.server("POST", f"api/kernels/{name}/restart").status_code == 200
    assert alice.run("print('x' in globals())") == "False\n"
    assert int(alice.run("import os; print(os.getpid())")) != before
    assert parent(alice) == "nursery"


def test_a_kernel_that_is_killed_is_restarted(site, alice):
    name, pid = kernel(alice)
    with contextlib.suppress(AssertionError):
        alice.run("import os; os.kill(os.getpid(), 9)", timeout=3)
    # What is sent before the server has seen the death is lost, warm or cold; its last state may well be "idle".
    wait_until(lambda: [found for found in processes_of(site, name) if found != pid], 60, "another process")
    wait_until(lambda: kernel_state(alice, name) in ("idle", "starting"))
    assert int(alice.run("import os; print(os.getpid())")) != pid


def processes_of(site: Site, kernel: str) -> list[int]:
    """Pids of those that are this kernel."""
    lines = {process.pid: " ".join(process.argv) for process in site.machine.processes()}
    return [pid for pid, line in lines.items() if "-m ipykernel_launcher" in line and kernel in line]


def kernel_state(alice: Client, name: str) -> str:
    return str(alice.server("GET", f"api/kernels/{name}").json()["execution_state"])


def test_twenty_kernels_at_once_all_answer(alice):
    names = [alice.start_kernel() for _ in range(20)]
    for name in names:
        alice.kernel = name
        assert alice.run("print(6 * 7)") == "42\n"


def test_kernels_of_other_languages_start_as_ever(site, alice):
    program = "import sys; from ipykernel.kernelapp import launch_new_instance; sys.own = True; launch_new_instance()"
    python = json.loads(site.machine.read(f"{SPECS}/python3/kernel.json"))["argv"][0]
    spec = {"argv": [python, "-c", program, "-f", "{connection_file}"], "display_name": "Other", "language": "other"}
    put(site, f"{OWN}/other/kernel.json", json.dumps(spec))
    kernel(alice, "other")
    assert alice.run("import sys; print(sys.own)") == "True\n"
    assert parent(alice) == "server"


def test_kernels_go_on_when_the_nursery_is_killed_and_the_next_one_starts(site, alice):
    kernel(alice)
    nursery = int(alice.run("print(os.getppid())"))
    site.machine.run(f"kill -9 {nursery}")
    assert alice.run("print(6 * 7)") == "42\n"
    kernel(alice)
    assert alice.run("print(6 * 7)") == "42\n"

    def warm_again() -> bool:
        kernel(alice)
        return parent(alice) == "nursery"

    wait_until(warm_again)


def test_the_kernels_of_a_server_that_is_killed_end(site, alice):
    pids = [kernel(alice)[1] for _ in range(2)]
    server = int(alice.run("print(os.environ['JPY_PARENT_PID'])"))
    site.machine.run(f"kill -9 {server}")
    wait_until(lambda: not {process.pid for process in site.machine.processes()} & set(pids))
    wait_until(lambda: not alice.api("GET", "users/alice").json()["servers"])
    alice.open_lab()
