"""The recipe's rows about a shared Python, its packages, the proxy and the configuration, on a site at /wsl."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from harness import Machine

from support.build import site_root
from support.client import Client
from support.site import Site

PASSWORD = "wonderland 1865"
CONFIG = """\
[http]
base_url = "/wsl"

[jupyterhub]
"JupyterHub.authenticate_prometheus" = false
"""
PLACE = "/opt/manylab/envs/default/current/bin"
OWN_DOTFILES = (".bashrc", ".profile", ".bash_profile", ".zshrc")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # In memory: another generation of the default environment is a gigabyte.
    machine = Machine(site_root("bookworm", "systemd"), tmpfs="4G")
    with Site("bookworm", "systemd", config=CONFIG, machine=machine) as one:
        one.install()
        one.add_user("alice", PASSWORD)
        one.machine.add_account("stranger", password=PASSWORD)
        yield one


@pytest.fixture(scope="module")
def alice(site: Site) -> Iterator[Client]:
    with site.client("alice", PASSWORD) as client:
        client.sign_in()
        client.open_lab()
        client.start_kernel()
        yield client


# the user environment


def test_the_user_environment_is_first_on_path_in_kernels_and_lab_terminals(site, alice):
    said = alice.run(
        "import os, sys, shutil; print(os.environ['PATH']); print(sys.prefix); print(shutil.which('python'))"
    )
    path, prefix, python = said.splitlines()
    assert re.fullmatch(r"/opt/manylab/envs/default/(current|[0-9a-f]{12})/bin", path.split(":")[0])
    assert re.fullmatch(r"/opt/manylab/envs/default/[0-9a-f]{12}", prefix), "a running kernel keeps its own generation"
    assert python.startswith("/opt/manylab/envs/default/")
    screen = alice.terminal(
        "echo $PATH; command -v python; command -v python3; python -c 'import numpy; print(numpy.__name__)'"
    )
    path, python, python3, numpy = screen.splitlines()
    assert path.split(":")[0] == PLACE
    assert (python, python3, numpy) == (f"{PLACE}/python", f"{PLACE}/python3", "numpy")
    assert "/opt/manylab/envs/server" not in path and "/opt/manylab/envs/hub" not in path


@pytest.mark.parametrize(
    "shell",
    [
        ["su", "-", "alice", "-c"],
        ["su", "--login", "--shell", "/bin/sh", "alice", "-c"],
        ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "bash", "-lc"],
    ],
    ids=["su", "su to sh", "bash"],
)
def test_login_shells_have_the_user_environment_first_for_members_and_not_for_others(site, shell):
    asked = "echo $PATH; command -v python3"
    path, python = site.machine.run([*shell, asked], env={"HOME": "/tmp"}).stdout.splitlines()
    assert path.split(":")[0] == PLACE and python == f"{PLACE}/python3"
    assert path.split(":").count(PLACE) == 1
    for other in ("stranger", "root"):
        words = [word.replace("alice", other) for word in shell]
        assert "manylab" not in site.machine.run([*words, asked], env={"HOME": "/tmp"}).stdout


def test_nobodys_dotfiles_are_touched(site, alice):
    for dotfile in (".bashrc", ".profile", ".bash_logout"):
        assert site.machine.read(f"/home/alice/{dotfile}") == site.machine.read(f"/etc/skel/{dotfile}")
    machine = site.machine
    machine.add_account("careful", password=PASSWORD)
    for dotfile in OWN_DOTFILES:
        machine.write(f"/home/careful/{dotfile}", f"# {dotfile} of careful\n", owner="careful")
    look = "cd ~careful && ls -lA --time-style=full-iso && cat " + " ".join(OWN_DOTFILES)
    before = machine.run(look).stdout
    site.manylab("user", "add", "careful")
    site.manylab("apply")
    machine.run(["su", "-", "careful", "-c", "true"])
    assert machine.run(look).stdout == before


SCIENCE = """
import warnings; warnings.simplefilter("ignore")
import pandas, matplotlib, yt_dlp, numba, boost_histogram, scipy, numpy, sympy, sklearn, cv2, PIL
import scipy.optimize, sklearn.linear_model, PIL.Image, matplotlib.pyplot as plt

@numba.njit
def total(values):
    sum = 0.0
    for value in values:
        sum += value
    return sum

print(total(numpy.arange(10.0)))
picture = numpy.zeros((40, 40, 3), numpy.uint8)
cv2.rectangle(picture, (10, 10), (29, 29), (255, 255, 255), -1)
edges = cv2.Canny(cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (3, 3), 0), 50, 150)
print(bool(edges.any()), hasattr(cv2, "ximgproc"))
print(PIL.Image.fromarray(picture).resize((20, 20)).size)
print(pandas.DataFrame({"a": [1, 2, 3]})["a"].mean(), sympy.integrate(sympy.Symbol("x"), sympy.Symbol("x")))
print(round(float(scipy.optimize.brentq(lambda x: x * x - 4, 0, 5)), 6))
print(sklearn.linear_model.LinearRegression().fit([[0], [1]], [1, 3]).predict([[2]]).round(6)[0])
print(boost_histogram.Histogram(boost_histogram.axis.Regular(2, 0, 1)).fill([0.1, 0.2, 0.9]).values())
"""


def test_everything_scientific_imports_in_a_kernel_and_really_computes(alice):
    lines = alice.run(SCIENCE, timeout=180).splitlines()
    assert lines == ["45.0", "True True", "(20, 20)", "2.0 x**2/2", "2.0", "5.0", "[2. 1.]"]
    drawn = alice.cell("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()", timeout=120)
    assert any("image/png" in data for data in drawn.data)


def test_an_added_package_is_there_in_new_kernels_while_running_ones_go_on(site, alice):
    alice.run("y = 17")
    with pytest.raises(Exception, match="ModuleNotFoundError"):
        alice.run("import cowsay")
    old = alice.kernel
    said = site.manylab("env", "add", "default", "cowsay", timeout=600).stdout
    moved = [line for line in said.splitlines() if line.startswith(("+ ", "- ", "~ "))]
    assert len(moved) == 1 and re.search(r"^\+ cowsay [\d.]+( .*)?$", moved[0]), said
    assert alice.run("print(y)") == "17\n"
    alice.start_kernel()
    assert alice.run("import cowsay, numpy; print(cowsay.__name__)") == "cowsay\n"
    assert site.machine.run(["su", "-", "alice", "-c", "python -c 'import cowsay; print(1)'"]).stdout == "1\n"
    alice.kernel = old
    assert "cowsay" in json.loads(site.manylab("env", "show", "default", "--json").stdout)["packages"]
    failed = site.manylab(
        "env", "add", "default", "there-is-no-such-package-as-this", "--json", check=False, timeout=600
    )
    assert failed.returncode == 1
    assert "there-is-no-such-package" not in site.machine.read("/etc/manylab/manylab.toml"), (
        "what failed is not written down"
    )
    assert alice.run("print(y)") == "17\n"


# the proxy and its token


def test_the_proxy_is_version_5_3_or_later(site):
    package = "/opt/manylab/envs/proxy/current/node_modules/configurable-http-proxy/package.json"
    version = json.loads(site.machine.read(package))["version"]
    assert tuple(int(part) for part in version.split(".")[:2]) >= (5, 3)


def test_no_secret_is_in_an_argv_a_log_or_a_file_that_others_can_read(site, alice):
    machine = site.machine
    kept = machine.run(
        "cd /var/lib/manylab; cat hub/proxy_token hub/cookie_secret; sed 's/.*=//' proxy/token.env"
    ).stdout.split()
    servers = machine.run(
        "for f in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $f; done 2>/dev/null"
        " | sed -nE 's/^(JUPYTERHUB_API_TOKEN|JPY_API_TOKEN)=//p'"
    ).stdout.split()
    assert len(set(kept)) == 2 and servers, "the hub's and the proxy's copy of one token, and the cookie secret"
    machine.write("/root/secrets", "\n".join({*kept, *servers}) + "\n", mode=0o600)
    arguments = machine.run(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -cFf /root/secrets", check=False
    ).stdout
    assert arguments.strip() == "0"
    assert machine.run("journalctl --no-pager -o export | grep -aFf /root/secrets", check=False).stdout == ""
    everywhere = ["grep", "-rlFsf", "-", "/etc", "/var", "/run", "/opt/manylab/share", "/home", "/tmp"]
    found = machine.run(everywhere, user="stranger", input=machine.read("/root/secrets"), check=False).stdout
    assert found == "", "nobody else finds them in any file"
    for path in ("hub/proxy_token", "hub/cookie_secret", "hub/jupyterhub.sqlite", "proxy/token.env"):
        assert machine.run(["stat", "-c", "%a", f"/var/lib/manylab/{path}"]).stdout == "600\n", path
    closed = machine.run(
        "find /var/lib/manylab -mindepth 1 2>/dev/null | grep -E 'secret|token|sqlite'", user="alice", check=False
    ).stdout
    assert closed == "", "nor do people see where they are"
    assert PASSWORD not in site.logs(5000)


# configuration


def test_the_site_is_served_under_its_base_url(site, alice):
    bare = f"http://127.0.0.1:{site.machine.port}"
    with httpx.Client(trust_env=False, timeout=60) as browser:
        for start in ("/wsl", "/wsl/", "/wsl/hub/"):
            answer = browser.get(bare + start, follow_redirects=True)
            assert answer.status_code == 200 and answer.url.path == "/wsl/hub/login", start
        # What is outside is no page of the proxy's own either: the hub says it in words.
        answer = browser.get(f"{bare}/hub/login", follow_redirects=True)
        assert answer.status_code == 404 and answer.url.path.startswith("/wsl/hub/")
    assert alice.server_url.startswith(f"{bare}/wsl/user/alice/")
    assert alice.run("import os; print(os.environ['JUPYTERHUB_SERVICE_PREFIX'])") == "/wsl/user/alice/\n"
    assert f"{bare}/wsl" in site.manylab("status").stdout


def test_a_setting_of_jupyterhub_by_its_own_name_takes_effect(site):
    assert httpx.get(f"{site.url}hub/metrics", trust_env=False, timeout=60).status_code == 200, (
        "JupyterHub's own default is 403"
    )


def test_hub_json_is_rendered_for_the_hub_alone_and_says_what_manylab_toml_says(site):
    path = "/var/lib/manylab/rendered/hub.json"
    rendered = json.loads(site.machine.read(path))
    assert rendered["traits"]["JupyterHub.bind_url"].endswith("/wsl/")
    assert rendered["traits"]["JupyterHub.authenticate_prometheus"] is False
    assert site.machine.run(["stat", "-c", "%a %U:%G", path]).stdout == "640 root:manylab-hub\n"


LISTENERS = """
import os, psutil
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        process = psutil.Process(int(pid))
        kind = "kernel" if "ipykernel_launcher" in process.cmdline() else "other"
        for one in process.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN:
                print(one.laddr.port, one.laddr.ip, process.uids().effective, kind)
    except psutil.NoSuchProcess:
        continue
"""


def test_the_public_port_is_the_only_tcp_port_of_hub_proxy_warden_servers_and_terminals(site, alice):
    alice.server("POST", "api/terminals", json={}).raise_for_status()
    assert alice.run("1 + 1") == "2"
    proxy, person = site.machine.person("manylab-proxy").uid, site.machine.person("alice").uid
    said = site.machine.run(["/opt/manylab/envs/hub/current/bin/python", "-c", LISTENERS]).stdout.splitlines()
    listening = [tuple(line.split()) for line in said]
    assert [one for one in listening if one[3] != "kernel"] == [
        (str(site.machine.port), "127.0.0.1", str(proxy), "other")
    ]
    # ipykernel binds a loopback port for what forked processes print (iostream.py, _setup_pipe_in), which takes
    # nothing that does not begin with a random secret; its five Jupyter sockets are files.
    kernels = [one for one in listening if one[3] == "kernel"]
    running = len(alice.server("GET", "api/kernels").json())
    assert len(kernels) <= running
    assert all(one[1:3] == ("127.0.0.1", str(person)) for one in kernels)


# what earlier use has left


def test_doctor_names_what_earlier_use_left_that_the_site_does_not_read(site):
    for path in (
        "/root/.jupyter/jupyterhub_config.py",
        "/home/alice/.jupyter/jupyter_notebook_config.py",
        "/home/alice/.jupyter/jupyter_server_config.json",
    ):
        site.machine.write(path, "raise SystemExit('broken')\n")
    site.machine.write("/etc/jupyter/jupyter_server_config.json", "{}\n")
    said = site.manylab("doctor", "--all", check=False).stdout
    for path in (
        "/root/.jupyter/jupyterhub_config.py",
        "/home/alice/.jupyter/jupyter_notebook_config.py",
        "/home/alice/.jupyter/jupyter_server_config.json",
    ):
        assert path in said
    assert "/etc/jupyter/jupyter_server_config.json" in said
    site.machine.run(["rm", "-r", "/etc/jupyter", "/root/.jupyter", "/home/alice/.jupyter"])


def test_doctor_warns_of_a_home_that_everybody_can_read_and_says_how_to_close_it(site):
    open_home = "/home/alice, the home of alice, has mode 0755: everybody can read it"
    site.machine.run(["chmod", "700", "/home/alice"])
    assert open_home not in site.manylab("doctor", check=False).stdout
    site.machine.run(["chmod", "755", "/home/alice"])
    said = site.manylab("doctor", check=False).stdout
    assert open_home in said
    assert "sudo chmod o-rwx /home/alice" in said
    site.machine.run(["chmod", "o-rwx", "/home/alice"])
    assert "the home of alice" not in site.manylab("doctor", check=False).stdout
