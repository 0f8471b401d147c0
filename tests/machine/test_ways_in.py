"""Every way into a machine has the same Python, variables and kernels; the server keeps its own to itself."""

from __future__ import annotations

import html
import json
import re
import socket
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from harness import Machine

from support.client import Client
from support.looking import in_memory
from support.site import Site

pytestmark = pytest.mark.timeout(900)

ENVS = "/opt/manylab/envs"
PASSWORD = "bob's password"
# Everything that some shell takes for its own.
MODEL = 'it\'s 100% "so" $HOME `id` !1 \\ 中文'
CUDA = "/usr/local/cuda/lib64"
CONFIG = f"""
[servers.environment]
MODEL = {json.dumps(MODEL, ensure_ascii=False)}
[envs.default]
packages = ["ipykernel"]
[envs.par]
packages = ["ipykernel"]
variables = {{ LD_LIBRARY_PATH = "{CUDA}", PRICE = "5$x" }}
[envs.parcold]
packages = ["ipykernel"]
start = "cold"
variables = {{ LD_LIBRARY_PATH = "{CUDA}" }}
"""
PROBE = """#!/usr/bin/env python
import json, os, sys
from jupyter_client.kernelspec import KernelSpecManager
print("PROBE" + json.dumps([sys.prefix, os.environ.get("MODEL"), sorted(KernelSpecManager().find_kernel_specs())]))
"""
DEFAULT = [f"{ENVS}/default", MODEL, ["manylab-par", "manylab-parcold", "python3"]]
SHELLS = {
    "sh": "/bin/sh", "bash": "/bin/bash", "zsh": "/bin/zsh", "fish": "/usr/bin/fish", "tcsh": "/bin/tcsh"
}  # fmt: skip
# As cron starts a job: sh, not as a login shell, and next to no variables.
CRON = ("env", "-i", "HOME=/home/bob", "LOGNAME=bob", "SHELL=/bin/sh", "PATH=/usr/bin:/bin")
AS_BOB = ("setpriv", "--reuid=bob", "--regid=bob", "--init-groups", "--")


class Place(NamedTuple):
    site: Site
    machine: Machine
    bob: Client


@pytest.fixture(scope="module", params=[pytest.param("bookworm-none", marks=pytest.mark.soak), "trixie-systemd"])
def place(request) -> Iterator[Place]:
    suite, init = request.param.split("-")
    packages = "zsh fish tcsh openssh-server git"
    packages += " dbus-user-session libpam-systemd" if init == "systemd" else ""
    with Site(suite, init, config=CONFIG, machine=in_memory(suite, init, small=True)) as site:
        machine = site.machine
        machine.run(
            f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y {packages}", timeout=600
        )
        machine.run(f"mkdir -p {CUDA} && cp /lib/*/libz.so.1 {CUDA}/libnowhere-else.so")
        machine.write("/srv/probe", PROBE, mode=0o755)
        machine.run("useradd -m -s /bin/bash eve")
        with site.up(timeout=500):
            site.add_user("bob", PASSWORD)
            with site.client("bob", PASSWORD) as bob:
                bob.sign_in()
                bob.open_lab()
                yield Place(site, machine, bob)


def seen(text: str) -> list[object]:
    """What the probe found, with an environment's generation left out."""
    lines = [line.partition("PROBE")[2] for line in text.splitlines() if "PROBE" in line]
    assert lines, text
    prefix, *rest = json.loads(lines[-1])
    return [prefix.rpartition("/")[0], *rest]


def cron(place: Place, command: str) -> str:
    return place.machine.run([*CRON, *AS_BOB, "/bin/sh", "-c", command], cwd="/home/bob").stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_login_of_any_shell_has_them_and_that_of_another_account_has_not(place, shell):
    for name in ("bob", "eve"):
        place.machine.run(["usermod", "-s", SHELLS[shell], name])
    try:
        assert seen(place.machine.run(["su", "-", "bob", "-c", "/srv/probe"]).stdout) == DEFAULT
        others = place.machine.run(["su", "-", "eve", "-c", "printenv PATH; printenv MODEL"], check=False).stdout
        assert "manylab" not in others and "100%" not in others
        assert seen(ssh(place, "")) == DEFAULT
    finally:
        place.machine.run(["usermod", "-s", "/bin/bash", "bob"])


def ssh(place: Place, command: str) -> str:
    """What bob's commands print after `ssh localhost`, or those of a login shell that reads them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place.machine.run(
        "mkdir -p /run/sshd; test -e /home/bob/.ssh/id || setpriv --reuid=bob --regid=bob --init-groups sh -c "
        '\'mkdir -p -m 700 /home/bob/.ssh; cd /home/bob/.ssh; ssh-keygen -q -t ed25519 -N "" -f id; '
        "cp id.pub authorized_keys'"
    )
    options = (
        f"-p {port} -i /home/bob/.ssh/id -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    )
    with place.machine.popen(
        ["/usr/sbin/sshd", "-D", "-e", "-p", str(port), "-o", "ListenAddress=127.0.0.1"]
    ) as daemon:
        daemon.wait_for_output("Server listening", timeout=30)
        words = ["sh", "-c", f"echo /srv/probe | ssh -q {options} bob@127.0.0.1 {command}"]
        return place.machine.run(words, user="bob", check=False).stdout


def test_a_terminal_of_the_lab_has_them(place):
    assert seen(place.bob.terminal("/srv/probe")) == DEFAULT


def test_a_job_of_cron_has_them_after_one_line_or_by_one_command(place):
    assert seen(cron(place, ". /etc/profile.d/manylab.sh; /srv/probe")) == DEFAULT
    assert seen(cron(place, "/usr/local/bin/manylab env shell default -- /srv/probe")) == DEFAULT
    par = seen(cron(place, "/usr/local/bin/manylab env shell par -- /srv/probe"))
    assert par == [f"{ENVS}/par", *DEFAULT[1:]]


def test_a_command_over_ssh_has_them_by_one_word(place):
    assert seen(ssh(place, "bash -lc /srv/probe")) == DEFAULT


def test_a_persons_own_units_have_them(place):
    if place.site.init != "systemd":
        return  # nobody has units there
    uid = place.machine.run(["id", "-u", "bob"]).stdout.strip()
    place.machine.run(["systemctl", "start", f"user@{uid}"])
    run = ["env", f"XDG_RUNTIME_DIR=/run/user/{uid}", "systemd-run", "--user", "--wait", "--pipe", "-q", "/srv/probe"]
    assert seen(place.machine.run(run, user="bob").stdout) == DEFAULT


@pytest.mark.parametrize("kernel", ["python3", "manylab-par"])
def test_what_names_a_kernel_of_the_lab_is_executed_from_anywhere(place, kernel):
    place.machine.write("/srv/where.py", "import sys; print('IN', sys.prefix)")
    command = f"jupyter run --kernel={kernel} /srv/where.py"
    where = f"IN {ENVS}/{kernel.removeprefix('manylab-').replace('python3', 'default')}/"
    assert where in place.bob.terminal(command)
    assert where in place.machine.run(["su", "-", "bob", "-c", command]).stdout
    assert where in cron(place, f"/usr/local/bin/manylab env shell default -- {command}")


# What a terminal or a kernel of the Lab has besides what a login has, and why.
EXPLAINED = {
    "JUPYTERHUB_": "as in any JupyterHub: people's programs ask the hub by them",
    "JPY_": "JupyterHub's older name of the token; ipykernel's parent",
    "JUPYTER_SERVER_": "Jupyter's own, of terminals: where the server is",
    "MANYLAB_SERVER_ID": "by this the warden finds what the server started",
    "LANG": "C.UTF-8 where the machine has none",
}
TERMINAL = {"TERM", "COLUMNS", "LINES", "PYXTERM_DIMENSIONS", "LS_COLORS", "PS1"}
KERNEL = {
    *("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "GIT_PAGER", "MPLBACKEND", "PAGER", "PYDEVD_USE_FRAME_EVAL", "TERM"),
    "LC_CTYPE",
}


def unexplained(names: set[str], more: set[str]) -> set[str]:
    return {name for name in names - more if not name.startswith(tuple(EXPLAINED))}


def test_every_variable_that_the_lab_adds_to_a_login_is_explained(place):
    login = set(place.machine.run(["su", "-", "bob", "-c", "env -0"]).stdout.split("\0"))
    login_names = {line.partition("=")[0] for line in login}
    terminal = {line.partition("=")[0] for line in place.bob.terminal("env -0 | tr '\\n\\0' ' \\n'").splitlines()}
    assert unexplained(terminal - login_names, TERMINAL) == set()
    for kernel in ("python3", "manylab-parcold"):
        place.bob.start_kernel(kernel)
        names = set(json.loads(place.bob.run("import os, json; print(json.dumps(list(os.environ)))")))
        assert unexplained(names - login_names, KERNEL | {"LD_LIBRARY_PATH"}) == set()
        assert place.bob.run("print(os.environ['MODEL'])").strip() == MODEL


def test_jupyters_own_commands_read_the_persons_configuration(place):
    program = "from jupyter_core.application import JupyterApp\nJupyterApp.launch_instance(['--generate-config'])\n"
    place.machine.write("/srv/generate.py", program)
    place.bob.terminal("rm -f ~/.jupyter/*config.py; python /srv/generate.py")
    assert "jupyter_config.py" in place.machine.run("ls /home/bob/.jupyter").stdout.split()
    paths = json.loads(place.bob.terminal("jupyter --paths --json | tr -d '\\n'"))
    assert paths["config"][0] == "/home/bob/.jupyter"
    assert paths["runtime"] == ["/home/bob/.local/share/jupyter/runtime"]


LOADED = (
    "import ctypes, os; ctypes.CDLL('libnowhere-else.so'); "
    "print(os.environ['LD_LIBRARY_PATH'], os.environ.get('PRICE'))"
)


def test_the_libraries_of_an_environment_are_found_by_its_kernels_and_its_shell_alone(place):
    place.site.wait_for_log("the nursery par is ready")
    for kernel, price, parent in (("manylab-par", "5$x", "manylab.warm"), ("manylab-parcold", "None", "manylab.lab")):
        place.bob.start_kernel(kernel)
        assert place.bob.run(LOADED).split() == [CUDA, price]
        assert parent in place.bob.run("print(open(f'/proc/{os.getppid()}/cmdline').read())")
    place.bob.start_kernel("python3")
    assert "LD_LIBRARY_PATH" not in place.bob.run("import os; print(list(os.environ))")
    code = "import ctypes; ctypes.CDLL('libnowhere-else.so')"
    assert cron(place, f'/usr/local/bin/manylab env shell par -- python -c "{code}"') == ""
    server = place.machine.run(
        "cat /proc/$(pgrep -u bob -of manylab)/environ /proc/$(pgrep -of manylab.warden)/environ"
    )
    assert "MANYLAB" in server.stdout and "LD_LIBRARY_PATH" not in server.stdout


def test_libraries_that_others_could_write_are_refused(place):
    place.machine.run("mkdir -p -m 1777 /srv/open")
    asked = ["config", "set", "envs.par.variables", '{ LD_LIBRARY_PATH = "/srv/open/lib" }']
    place.site.manylab(*asked, check=False)
    said = place.site.manylab("plan", check=False)
    place.site.manylab("config", "set", "envs.par.variables", f'{{ LD_LIBRARY_PATH = "{CUDA}", PRICE = "5$x" }}')
    assert said.returncode == 1 and "others than root can write /srv/open" in said.stdout + said.stderr


COURSE = """
set -e
rm -rf /srv/course /srv/course.git '/srv/课程 one' /srv/shut /srv/trust /data
git init -q -b main /srv/course; cd /srv/course; echo 1 > a.txt; git add .
git -c user.name=t -c user.email=t@t commit -qm one
git clone -q --bare . /srv/course.git; git clone -q --bare . '/srv/课程 one'; git clone -q --bare . /srv/shut
chown -R eve: '/srv/课程 one'; chmod 700 /srv/shut; mkdir /data /srv/trust; ln -s /srv /data/link
git config -f /srv/trust/.gitconfig safe.directory '*'
cat > /srv/program <<'END'
#!/bin/sh
id -un >> /srv/ran
[ "$1" != git ] || exec "$@"
END
chmod 755 /srv/program; install -m 666 /dev/null /srv/ran
for repo in /srv/course/.git /srv/course.git '/srv/课程 one'; do
    for key in uploadpack.packObjectsHook core.fsmonitor core.sshCommand core.pager core.alternateRefsCommand; do
        git -c safe.directory='*' config -f "$repo/config" $key /srv/program
    done
    for hook in pre-receive update post-checkout post-merge reference-transaction; do
        cp /srv/program "$repo/hooks/$hook"
    done
done
"""


def pull(place: Place, repo: str, target: str) -> str:
    """What a link of nbgitpuller says, from the question to the end."""
    query = urllib.parse.urlencode({"repo": repo, "branch": "main", "targetpath": target})
    question = place.bob.server("GET", f"git-pull?{query}")
    if question.status_code != 200:
        return question.text
    if found := re.search(r'name="_xsrf" value="([^"]*)"', question.text):
        form = {"_xsrf": html.unescape(found[1])}
        place.bob.http.post(str(question.url), data=form, headers={"Referer": str(question.url)}).raise_for_status()
    return place.bob.server("GET", f"git-pull/api?{query}").text


@pytest.mark.parametrize(
    "repo",
    [
        *("file:///srv/course.git", "file:///srv/course", "/srv/course", "file:///data/link/course.git"),
        *("/data/link/course", "file:///srv/%E8%AF%BE%E7%A8%8B%20one", "/srv/课程 one"),
    ],
)
def test_a_link_fetches_a_course_of_another_account_of_the_machine(place, repo):
    place.machine.run(COURSE)
    place.machine.run("rm -rf /home/bob/course")
    said = pull(place, repo, "course")
    assert '"finished"' in said, said
    assert place.machine.read("/home/bob/course/a.txt") == "1\n"
    place.machine.run("cd /srv/course; echo 2 > b.txt; git add .; git -c user.name=t -c user.email=t@t commit -qm two")
    for bare in ("/srv/course.git", "/srv/课程 one"):
        place.machine.run(
            ["git", "--git-dir", bare, "fetch", "-q", "/srv/course", "main:main"], env={"HOME": "/srv/trust"}
        )
    again = pull(place, repo, "course")
    assert '"finished"' in again, again
    assert place.machine.read("/home/bob/course/b.txt") == "2\n"
    assert "bob" not in place.machine.read("/srv/ran"), "a program that the repository names has run"
    # git itself asks its question as ever, for everything that was not agreed to.
    assert "dubious" in place.bob.terminal("git ls-remote /srv/course 2>&1")


def test_a_course_that_cannot_be_read_gets_a_sentence_and_one_that_is_not_there_gits_own(place):
    place.machine.run(COURSE)
    assert "chmod -R a+rX" in pull(place, "file:///srv/shut", "shut")
    assert "chmod -R a+rX" not in pull(place, "file:///srv/nothing", "nothing")
