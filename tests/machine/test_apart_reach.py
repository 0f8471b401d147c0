"""What eve, with an account on alice's machine, can reach of alice's. Each attack is first shown where it works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import wait_until

from support.apart import FOLDERS, PYTHON, Pair, in_kernel, pair
from support.attacks import WORKED
from support.debugging import debugger

SECRET = "a-token-that-somebody-was-careless-with"


@pytest.fixture(
    scope="module", params=[("bookworm", "none"), ("bookworm", "systemd"), ("trixie", "none")], ids="-".join
)
def two(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair(*request.param) as made:
        yield made


# connecting


def test_nobody_else_can_connect_to_a_server_or_a_kernel(two):
    careless = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/tmp/open.sock'); s.listen()\n"
    with two.victim(f"import os, time; os.umask(0)\n{careless}print('ready'); time.sleep(600)"):
        assert two.attack("connect", "/tmp/open.sock") == WORKED
    assert two.attack("connect", two.socket("eve")) == WORKED  # her own: the path is written rightly
    assert two.attack("connect", two.socket("alice")) == "EACCES"
    for folder in ("", "/_", "/_/jupyter"):
        assert two.attack("listing", f"/run/manylab/servers/alice{folder}") == "EACCES"
    assert two.attack_in_kernel("connect", two.socket("alice")) in ("EACCES", "ENOENT")


def test_no_port_and_no_abstract_socket_leads_to_somebody_else(two):
    """Permissions of files do not hold for either of them."""
    code = "import os, socket, time; a = socket.create_server(('127.0.0.1', 0)); b = socket.socket(socket.AF_UNIX)\n"
    code += "b.bind('\\0alices-' + str(os.getpid())); b.listen(); print('ready'); time.sleep(600)"
    with two.victim(code):
        open_ones = two.attack("sockets_of", two.pids("alice"), user="root")
        assert two.attack("connect_tcp", open_ones["tcp"][-1]) == WORKED
        name = next(name for name in open_ones["unix"] if name.startswith("@alices-"))
        assert two.attack("connect", name) == WORKED
    found = two.attack("sockets_of", two.pids("alice", "eve"), user="root")
    assert found["tcp"] == []
    assert [path for path in found["unix"] if not path.startswith("/")] == []
    # What is left are files, and eve can open her own.
    theirs = two.attack("sockets_of", two.pids("alice"), user="root")["unix"]
    assert two.socket("alice") in theirs
    for path in theirs:
        assert two.attack("connect", path) in ("EACCES", "ENOENT"), path


def test_what_a_server_writes_to_is_open_in_nobody_elses_process(two):
    """Whoever has the same open file or connection can empty it, or close it for all of them."""

    def outputs(pid: int) -> set[str]:
        names = (f"/proc/{pid}/fd/{number}" for number in range(3))
        return set(two.site.machine.run(["readlink", *names]).stdout.split()) - {"/dev/null"}

    for server in (two.server_pid("alice"), two.server_pid("eve")):
        mine, others = outputs(server), [*nurseries(two), _pid_of(two, "manylab.warden")]
        assert mine
        assert all(mine.isdisjoint(outputs(pid)) for pid in others)
    assert outputs(two.server_pid("alice")).isdisjoint(outputs(two.server_pid("eve")))


def _pid_of(two: Pair, module: str) -> int:
    return next(one.pid for one in two.site.machine.processes() if module in one.argv)


# debugging

LISTENING = """
import sys, time
sys.path.insert(0, "{folder}")
import debugpy
print("port", debugpy.listen(("127.0.0.1", 0))[1], "ready", flush=True)
time.sleep(600)
"""
# A site's debugpy as it was published.
PLAIN = """
set -e
mkdir /srv/plain
cp -r /opt/manylab/envs/default/current/lib/python3*/site-packages/debugpy /srv/plain/
sed -i '/^# Added by manylab/,$d' /srv/plain/debugpy/common/sockets.py
"""
WHO = "__import__('os').getuid()"


def test_nobody_else_can_speak_to_a_debugger(two):
    """debugpy's port asks for no secret, and `evaluate` runs code."""
    two.site.machine.run(PLAIN)
    alices = str(two.uid("alice"))
    with two.site.machine.popen([PYTHON, "-u", "-c", LISTENING.format(folder="/srv/plain")], user="alice") as plain:
        assert two.attack("debug", int(plain.wait_for_output(r"port (\d+)")[1]), WHO) == alices
    with two.site.machine.popen([PYTHON, "-u", "-c", LISTENING.format(folder="/nowhere")], user="alice") as running:
        port = int(running.wait_for_output(r"port (\d+)")[1])
        for attack in (two.attack, two.attack_in_kernel):
            assert attack("debug", port, WHO) == "closed"
        assert two.attack("debug", port, WHO, user="alice") == alices


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_the_debugger_of_a_notebook_is_its_owners_alone(two, start):
    """While it is used, when it has been switched off and goes on listening, and when it is used again."""
    client = two.alice
    if start == "cold":
        folder = "/home/alice/.local/share/jupyter/kernels/own"
        two.site.machine.run(f"mkdir -p {folder}; cp /opt/manylab/share/jupyter/kernels/python3/kernel.json {folder}")
    client.start_kernel("own" if start == "cold" else "python3")
    parent = client.run("import os; print(open(f'/proc/{os.getppid()}/cmdline').read())")
    assert ("nursery.py" in parent) == (start == "warm")

    def listening() -> set[int]:
        return set(two.attack("sockets_of", two.pids("alice"), user="root")["tcp"])

    def ports() -> set[int]:
        return listening() - before

    before = listening()  # that of a cold kernel for what forked children print
    try:
        with debugger(client) as alices:
            for _ in range(2):
                alices.switch_on()
                assert alices.stops("value = 6\nanswer = value * 7\nprint(answer)", line=2) == "value"
                assert len(ports()) == 2
                for when in ("on", "off"):
                    for port in ports():
                        for attack in (two.attack, two.attack_in_kernel):
                            assert attack("debug", port, WHO) == "closed", (when, port)
                    if when == "on":
                        alices.switch_off()
                assert ports(), "what was attacked is gone"
        assert client.run("answer") == "42"
    finally:
        client.server("DELETE", f"api/kernels/{client.kernel}")
        client.kernel = ""
        two.site.machine.run("rm -rf /home/alice/.local/share/jupyter/kernels/own")
        wait_until(lambda: not ports(), 30)


def test_nobody_shares_a_keyring(two):
    """Kerberos and cifs keep what they know in that of the session, which every process inherits."""
    assert two.attack("keys_of_one_session", two.uid("alice"), two.uid("eve"), user="root") == "alice's"
    assert in_kernel(two.alice, "key_put", "ticket", "alice's") == WORKED
    assert in_kernel(two.alice, "key_get", "ticket") == "alice's"
    assert two.attack_in_kernel("key_get", "ticket") == "ENOKEY"
    assert two.attack_in_kernel("key_put", "ticket", "eve's") == WORKED
    assert in_kernel(two.alice, "key_get", "ticket") == "alice's"


# reading


def test_a_token_can_be_read_nowhere(two):
    code = (
        f"import os, sys, time\nos.umask(0); open('/tmp/notes', 'w').write('{SECRET}')\n"
        f"os.makedirs('/tmp/x/{SECRET}')\nprint('ready'); time.sleep(600)  # {SECRET}"
    )
    with two.victim(code):
        found = two.attack("search", [SECRET], FOLDERS)[SECRET]
        assert {"/tmp/notes"} < set(found)
        assert any(place.endswith("/cmdline") for place in found)
    secrets = two.secrets()
    assert len(secrets) >= 4, secrets.keys()
    found = two.attack("search", list(secrets.values()), FOLDERS)
    assert {what: found[text] for what, text in secrets.items() if text in found} == {}
    # Her own server may see other folders.
    found = two.attack("search", list(secrets.values()), FOLDERS, like="eve")
    assert {what: found[text] for what, text in secrets.items() if text in found} == {}


FORKING = f"""
import os, time
token = "{SECRET[:10]}" + "{SECRET[10:]}"       # a server that keeps what it was told...
if os.fork() == 0:                              # ...and forks for somebody else
    os.setuid(int(os.environ["EVE"]))
    print(os.getpid(), "ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""


def test_no_secret_of_hers_is_in_the_memory_of_anything_that_is_his(two):
    """Of what is eve's, and of what eve's was forked from: a child inherits every page."""
    code = FORKING.replace('os.environ["EVE"]', str(two.uid("eve")))
    with two.site.machine.popen([PYTHON, "-I", "-u", "-c", code]) as running:
        child = int(running.wait_for_output(r"(\d+) ready")[1])
        assert two.attack("search_memory", [child], [SECRET], user="root") == {str(child): [SECRET]}
    secrets = two.secrets()
    pids = two.pids("eve") + nurseries(two)
    assert pids
    found = two.attack("search_memory", pids, list(secrets.values()), user="root")
    names = {text: what for what, text in secrets.items()}
    assert {pid: [names[text] for text in texts] for pid, texts in found.items() if texts} == {}


def nurseries(two: Pair) -> list[int]:
    """Whatever people's servers and kernels are forked from."""
    return [
        process.pid
        for process in two.site.machine.processes()
        if any("nursery" in word or "manylab.warm" in word for word in process.argv)
    ]


def test_a_home_that_manylab_made_and_what_is_in_it_is_closed(two):
    two.site.machine.run("umask 022; mkdir -p /srv/open; echo mine > /srv/open/notes; chown -R alice: /srv/open")
    assert two.attack("read", "/srv/open/notes") == "mine\n"
    two.alice.run("open('plan.ipynb', 'w').write('secret plan'); import os; os.chmod('plan.ipynb', 0o644)")
    assert two.site.machine.read("/home/alice/plan.ipynb") == "secret plan"
    for attack in (two.attack, two.attack_in_kernel):
        assert attack("listing", "/home/alice") == "EACCES"
        assert attack("read", "/home/alice/plan.ipynb") == "EACCES"
        assert attack("write", "/home/alice/plan.ipynb") == "EACCES"
    assert two.alice.run("open('plan.ipynb').read()") == "'secret plan'"


# private places for temporary files


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm"])
def test_temporary_files_are_each_persons_own(two, place):
    with two.victim(f"import time; open('{place}/careless', 'w').write('x'); print('ready'); time.sleep(600)"):
        assert two.attack("read", f"{place}/careless") == "x"
        assert "careless" in two.attack("listing", place)
    made = f"import os; os.umask(0); open('{place}/hers', 'w').write('hers'); os.listdir('{place}')"
    assert "hers" in two.alice.run(made)
    for attack in (two.attack, two.attack_in_kernel):
        assert attack("read", f"{place}/hers") == "ENOENT"
        assert "hers" not in attack("listing", place)
        assert "careless" not in two.alice.run(f"import os; os.listdir('{place}')")
    # And the other way: what eve puts there in time is not what alice finds.
    for attack in (two.attack, two.attack_in_kernel):
        attack("write", f"{place}/trap", "trap")
    assert two.alice.run(f"import os; os.path.exists('{place}/trap')") == "False"
    # It is what such a folder should be, and one and the same in her kernels and her terminals.
    assert in_kernel(two.alice, "mode", place) == "0o1777"
    assert two.alice.terminal(f"cat {place}/hers") == "hers"
    assert two.alice.run(f"import tempfile; tempfile.TemporaryFile(dir='{place}').close()") == ""
    two.site.machine.run(f"rm -f {place}/careless {place}/trap")


# processes


def test_nobody_can_read_stop_or_slow_down_somebody_elses_processes(two):
    """The same to a process of one's own is the attack where it works."""
    own = two.attack("molest_own")
    refused = {what for what, how in own.items() if how not in (WORKED, "nothing")}
    # What this kernel lets nobody do (an old one has no pidfd_getfd) shows nothing.
    assert refused <= {"read stack", "read syscall", "pidfd_getfd", "ptrace", "read pagemap"}, own
    assert own["SIGTERM"] == own["read mem"] == own["process_vm_readv"] == WORKED
    pids = two.pids("alice")
    assert len(pids) >= 2
    harmless = {"link exe", "read wchan"}
    for pid in pids:
        done = two.attack("molest", pid)
        assert {what for what, how in done.items() if how in (WORKED,)} - harmless == set(), (pid, done)
    for client in (two.alice, two.eve):
        assert client.run("6 * 7") == "42"


def test_nor_those_of_the_site_itself(two):
    own = {two.uid("alice"), two.uid("eve")}
    site = [
        process
        for process in two.site.machine.processes()
        if process.uid not in own and any("manylab" in word for word in process.argv)
    ]
    assert len(site) >= 3
    for process in site:
        done = two.attack("molest", process.pid)
        assert {what for what, how in done.items() if how == WORKED} == set(), (process, done)
    assert two.site.answers()


def test_what_the_site_keeps_is_closed_to_people(two):
    """Everything below its folders that somebody with an account can open is meant for them."""
    folders = ["/run/manylab", "/var/lib/manylab", "/var/log/manylab", "/etc/manylab"]
    for attack in (two.attack, two.attack_in_kernel):
        assert attack("listing", "/var/lib/manylab/hub") == "EACCES"
        assert attack("read", "/etc/manylab/manylab.toml") == "EACCES"
        for folder in folders:
            for name in ("manylab.x", "servers", "hub", "warden", "proxy"):
                assert attack("write", f"{folder}/{name}.trap") in ("EACCES", "ENOENT", "EROFS")
    logs = two.attack("listing", "/var/log/manylab")
    if isinstance(logs, list):
        assert [name for name in logs if two.attack("read", f"/var/log/manylab/{name}") != "EACCES"] == []
