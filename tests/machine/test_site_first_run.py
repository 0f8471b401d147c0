"""Section 1 of what manylab promises: from nothing to a person in their Lab."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from harness import Machine, Running, root_for, wait_until

from support.build import CHECKOUT, bare, put_project, site_root, with_packages
from support.client import Client, Refused
from support.site import Site

PASSWORD = "wonderland 1865"
WHO_AND_WHERE = "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.getcwd(), os.path.expanduser('~'))"
WRONG = "The user name or password is wrong, or the account is locked."


def is_in_her_own_lab(client: Client, name: str = "alice", home: str = "/home/alice") -> None:
    """The Lab opens, and kernel and terminal are this person's, in their home."""
    client.open_lab()
    assert client.run(WHO_AND_WHERE) == f"{name} {home} {home}\n"
    assert client.terminal("id -un; pwd").splitlines() == [name, home]


# from a bare machine


@pytest.mark.first
@pytest.mark.timeout(1800)
def test_on_a_bare_machine_one_command_and_one_account_are_all_it_takes(suite, record_property, capsys):
    with bare(suite) as machine, Site(suite, machine=machine) as site:
        for program in ("python3", "node", "systemctl", "curl"):
            assert machine.run(["which", program], check=False).returncode != 0, f"a bare root has no {program}"
        began = time.monotonic()
        # Whatever root's umask is, people must be able to read what is made.
        with machine.popen(f"umask 077; exec {CHECKOUT}/manylab up", cwd="/") as up:
            site.wait_until_it_answers(up, timeout=1500)
            first = time.monotonic() - began
            up.wait_for_output(rf"http://127\.0\.0\.1:{machine.port}/")
            assert "\x1b" not in up.output() and "\r" not in up.output(), "plain lines where there is no terminal"
            site.add_user("alice", PASSWORD)
            with site.client("alice", PASSWORD) as alice:
                alice.sign_in()
                is_in_her_own_lab(alice)
            up.signal(signal.SIGTERM)
            up.wait(60)
        site.wait_until_nothing_is_left()
        everybody_reads_and_only_root_writes(machine)
        began = time.monotonic()
        with site.up():
            second = time.monotonic() - began
        record_property("first start, seconds", round(first, 1))
        record_property("second start, seconds", round(second, 1))
        with capsys.disabled():
            print(f"\n{suite}: first start {first:.1f} s, second start {second:.1f} s", file=sys.stderr)
        machine.run(["userdel", "--remove", "alice"])


def everybody_reads_and_only_root_writes(machine: Machine) -> None:
    """No file of the environments is hidden from people or open to them."""
    machine.add_account("somebody")
    envs = "/opt/manylab/envs"
    unreadable = machine.run(
        f"find -L {envs} ! -readable -o -type d ! -executable", user="somebody", check=False
    ).stdout
    assert unreadable == "", "somebody who is no member cannot read these"
    writable = machine.run(f"find -L {envs} -writable", user="somebody", check=False).stdout
    assert writable == ""
    assert machine.run(f"find {envs} ! -user root -o ! -type l -perm /022").stdout == ""
    machine.run(["userdel", "--remove", "somebody"])


# stopping


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("bookworm") as one:
        one.add_user("alice", PASSWORD)
        yield one


def control_c(up: Running) -> None:
    up.send("\x03")


def terminate(up: Running) -> None:
    up.signal(signal.SIGTERM)


def close_terminal(up: Running) -> None:
    up.hang_up()


@pytest.mark.parametrize("stop", [control_c, terminate, close_terminal])
def test_however_it_is_stopped_nothing_that_it_started_is_left_running(site, stop):
    with site.up(tty=True) as up, site.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        alice.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '4321']); None")
        asleep = ("sleep", "4321")
        wait_until(lambda: any(one.argv == asleep for one in site.machine.processes()), 60, lambda: "the sleeper")
        stop(up)
        code = up.wait(60)
        assert code == 0 or stop is close_terminal, up.output()
        site.wait_until_nothing_is_left()
    assert not site.answers()


# who may not sign in


@pytest.fixture(scope="module")
def guarded() -> Iterator[Site]:
    """A site that is up, with one person for each reason not to let somebody in."""
    with Site("bookworm") as one:
        for name in ("alice", "locked", "expired"):
            one.add_user(name, PASSWORD)
        one.machine.add_account("stranger", password=PASSWORD)
        one.machine.run(["usermod", "--lock", "locked"])
        one.machine.run(["chage", "--expiredate", "0", "expired"])
        one.machine.run(["chpasswd"], input=f"root:{PASSWORD}\n")
        with one.up():
            yield one


@pytest.mark.parametrize(
    ("name", "password", "sentence", "reason"),
    [
        ("alice", "not her password", WRONG, "wrong"),
        ("nobody-here", PASSWORD, WRONG, "unknown"),
        ("locked", PASSWORD, WRONG, "locked"),
        ("root", PASSWORD, WRONG, "system-account"),
        ("manylab", PASSWORD, WRONG, "system-account"),
        ("expired", PASSWORD, "Your account has expired. Ask whoever runs this machine.", "expired"),
        (
            "stranger",
            PASSWORD,
            "Your account may not use this site. Ask whoever runs it to add you to its group.",
            "not-member",
        ),
    ],
)
def test_somebody_who_may_not_come_in_reads_why_and_the_log_says_it_too(guarded, name, password, sentence, reason):
    with guarded.client(name, password) as client:
        with pytest.raises(Refused) as refused:
            client.sign_in()
        assert sentence in str(refused.value)
        assert refused.value.status == 403
        assert not client.signed_in()
    guarded.wait_for_log(f"Refused to sign in {name}: {reason}")
    assert password not in guarded.logs(1000)


def test_the_sentence_is_chinese_for_a_chinese_browser(guarded):
    with guarded.client("alice", "wrong", language="zh-CN") as client, pytest.raises(Refused, match="用户名或密码错误"):
        client.sign_in()


def test_a_second_up_says_who_serves_already_and_disturbs_nobody(guarded):
    done = guarded.manylab("up", check=False, timeout=60)
    assert done.returncode == 1
    assert re.search(r"being served already \(pid \d+\)", done.stderr)
    assert guarded.answers()


def test_the_right_person_still_comes_in(guarded):
    with guarded.client("alice", PASSWORD) as alice:
        alice.sign_in()
        is_in_her_own_lab(alice)


# one ordinary user


@pytest.mark.parametrize("root_has_a_site", [False, True])
def test_an_ordinary_user_serves_themselves_alone_and_is_told_so(root_has_a_site):
    root = site_root("bookworm") if root_has_a_site else with_packages("bookworm")
    with Site("bookworm", machine=Machine(root, tmpfs="6G")) as site:
        machine = site.machine
        machine.add_account("carol", password=PASSWORD)
        machine.add_account("dave", password=PASSWORD, groups=["manylab"])
        if not root_has_a_site:
            put_project(machine)
            # Root's site goes, and what carol would download is there already.
            program = "/home/carol/.local/share/manylab"
            machine.run(f"mkdir -p {program} && cp -a /opt/manylab/cache {program} && rm -rf /opt/manylab")
            machine.run("chown -R carol: /home/carol/.local")
        machine.run(["install", "-d", "-o", "carol", "-g", "carol", "/home/carol/.config/manylab"])
        # The full set of packages takes a while; on the bare machine above it is built.
        site.configure(
            "[envs.default]\npackages = []\n", path="/home/carol/.config/manylab/manylab.toml", owner="carol"
        )
        with site.up(user="carol", timeout=600, words=["--own"] if root_has_a_site else []) as up:
            up.wait_for_output("carol alone")
            with site.client("carol", PASSWORD) as carol:
                carol.sign_in()
                is_in_her_own_lab(carol, "carol", "/home/carol")
            with site.client("dave", PASSWORD) as dave, pytest.raises(Refused):
                dave.sign_in()
            assert all(process.uid != 0 for process in site.left_behind()), "nothing of it runs as root"
        site.wait_until_nothing_is_left()
        elsewhere = machine.run("find / -xdev -path /home -prune -o -path /proc -prune -o -user carol -print").stdout
        assert elsewhere == "", "all of it is below the person's home"


# what people have in their homes


@pytest.fixture
def homely() -> Iterator[Site]:
    """A site that is not up yet, where alice has a home."""
    with Site("bookworm") as one:
        one.add_user("alice", PASSWORD)
        yield one


def python_of(site: Site) -> str:
    """As "python3.11": the folder name of the person's own packages."""
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    return site.machine.run(["/opt/manylab/envs/server/current/bin/python", "-c", code]).stdout.strip()


def test_broken_packages_in_a_home_do_not_stop_that_persons_server(homely):
    own = f"/home/alice/.local/lib/{python_of(homely)}/site-packages"
    for package, version in [
        ("jupyter_server", "0.0.1"),
        ("tornado", "4.5.3"),
        ("traitlets", "4.0.0"),
        ("jupyterlab", "0.1"),
        ("jupyterhub", "0.1"),
    ]:
        homely.machine.write(
            f"{own}/{package}/__init__.py", f"raise ImportError('broken {package} {version}')\n", owner="alice"
        )
        homely.machine.write(
            f"{own}/{package}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        )
    for module in ("sitecustomize", "usercustomize", "manylab", "ipykernel_launcher"):
        homely.machine.write(f"{own}/{module}.py", "raise SystemExit('broken')\n", owner="alice")
    homely.machine.run(["chown", "-R", "alice:", "/home/alice/.local"])
    with homely.up(), homely.client("alice", PASSWORD) as alice:
        alice.sign_in()
        alice.open_lab()
        # What any Python of hers runs when it starts, her kernels run too; what only hides shared packages, hides none.
        homely.machine.run(["rm", f"{own}/sitecustomize.py", f"{own}/usercustomize.py"])
        is_in_her_own_lab(alice)


LEFTOVERS = {
    ".jupyter/jupyter_notebook_config.py": "raise SystemExit('broken')\n",
    ".jupyter/jupyter_server_config.py": "c.ServerApp.ip = '0.0.0.0'; raise SystemExit('broken')\n",
    ".jupyter/jupyter_config.py": "this is no Python\n",
    ".jupyter/jupyter_server_config.json": '{"ServerApp": {"password": "x", "base_url": "/nowhere"',
    ".jupyter/jupyterhub_config.py": "raise SystemExit('broken')\n",
    ".jupyter/jupyter_server_config.d/x.json": '{"ServerApp": {"jpserver_extensions": {"no_such_extension": true}}}',
    ".local/share/jupyter/runtime": "a file where a folder should be\n",
}


def test_configuration_left_in_a_home_by_earlier_use_does_not_break_that_persons_server(homely):
    for path, text in LEFTOVERS.items():
        homely.machine.write(f"/home/alice/{path}", text, owner="alice")
    homely.machine.run(["chown", "-R", "alice:", "/home/alice"])
    with homely.up(), homely.client("alice", PASSWORD) as alice:
        alice.sign_in()
        is_in_her_own_lab(alice)


def test_root_s_own_leftovers_and_odd_environment_do_not_break_the_site(homely):
    homely.machine.write("/root/.jupyter/jupyterhub_config.py", "raise SystemExit('broken')\n")
    homely.machine.write("/root/jupyterhub_config.py", "raise SystemExit('broken')\n")
    homely.machine.write("/srv/odd/manylab/__init__.py", "raise SystemExit('broken')\n")
    odd = {
        "PYTHONPATH": "/srv/odd",
        "PYTHONHOME": "/srv/odd",
        "JUPYTER_CONFIG_DIR": "/root/.jupyter",
        "HOME": "/nowhere",
    }
    with homely.machine.popen(f"umask 077; exec {CHECKOUT}/manylab up", cwd="/root", env=odd) as up:
        homely.wait_until_it_answers(up)
        with homely.client("alice", PASSWORD) as alice:
            alice.sign_in()
            is_in_her_own_lab(alice)


def test_without_any_python_an_ordinary_user_is_told_what_to_ask_for():
    with Machine(root_for("bookworm", "none")) as machine:
        put_project(machine)
        machine.add_account("carol")
        done = machine.run([f"{CHECKOUT}/manylab", "up"], user="carol", check=False)
        assert done.returncode == 1
        assert "there is no Python 3.10 or later" in done.stderr
        wait_until(lambda: len(machine.processes()) == 1, 60, "the end of everything")
