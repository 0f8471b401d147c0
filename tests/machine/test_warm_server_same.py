"""A warm server is a cold one, only sooner: the same person's server, started both ways, answers and looks the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from manylab.lab import config
from support.site import Site

# What differs from one start to the next, however it was made.
CHANGING = re.compile(
    r'"(token|started|last_activity|last_modified|created)": ?("[^"]*"|\d+|null),? ?|\?v=[0-9a-f]{8,}|api-token="\w+"'
)
ASKED = (
    "api/status",
    "api/me",
    "api/kernelspecs",
    "api/contents?content=1&hash=0",
    "api/config/notebook",
    "lab/api/settings",
    "lab/api/translations",
    "lab/api/translations/zh_CN",
    "lab/api/workspaces",
    "lab/api/extensions",
    "lab/api/plugins",
    "lab/api/themes/@jupyterlab/theme-light-extension/index.css",
    "custom/custom.css",
    "jupyterlab_code_formatter/formatters",
)
SETTINGS = '{"locale": "zh_CN"}'
# About the process itself, as the kernel of the machine knows it. Umask and the rest of its state as its owner set it.
STATUS = ("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapAmb")
# Set anew at each start, or what says that it was this one.
NEW = re.compile(r"^(JUPYTERHUB_API_TOKEN|JPY_API_TOKEN|MANYLAB_SERVER_ID|_|SHLVL)=")

# What there is before and after: afterwards no thread, loop, descriptor, file or variable more.
REHEARSAL = """
import gc, json, os, signal, sys, tempfile, threading, tornado.web
from manylab.lab import rehearsal
from jupyter_server.serverapp import ServerApp
def state():
    gc.collect()
    return {
        "environ": dict(os.environ), "cwd": os.getcwd(), "threads": threading.active_count(),
        "descriptors": sorted(os.listdir("/proc/self/fd")), "temporary": sorted(os.listdir(tempfile.gettempdir())),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
    }
before = state()
rehearsal.prepare()
after = state()
servers = sum(isinstance(found, ServerApp) for found in gc.get_objects())
import asyncio
try:
    loop = asyncio._get_running_loop() or asyncio.get_event_loop_policy()._local._loop
except AttributeError:
    loop = None
from importlib.metadata import entry_points
same = all(
    {str(one) for one in entry_points(group=group)} == {str(one) for one in entry_points.real(group=group)} != set()
    for group in ("nbconvert.exporters", "jupyterlab.languagepack", "jupyter_client.kernel_provisioners")
)
print(json.dumps({"same": same, "before": before, "after": after, "servers": servers, "loop": repr(loop),
                  "modules": len(sys.modules), "xsrf": "_xsrf_token_id" in vars(tornado.web.RequestHandler)}))
"""


@pytest.fixture(scope="module", params=("bookworm", "trixie"))
def site(request):
    with Site(request.param) as site:
        site.add_user("alice", "her password")
        site.machine.write(
            "/home/alice/.jupyter/lab/user-settings/@jupyterlab/translation-extension/plugin.jupyterlab-settings",
            SETTINGS,
            owner="alice",
        )
        site.machine.run(["chown", "-R", "alice:", "/home/alice/.jupyter"])
        yield site


# Every trait's default that was worked out when its class was made.
DEFAULTS = """
import importlib, json, sys
import jupyterhub.singleuser.extension, jupyterlab.labapp, manylab.lab.server
from manylab.lab import rehearsal
from traitlets import HasTraits
for name in (*rehearsal.LATE, *sys.argv[1:]):
    importlib.import_module(name)
def all_of(cls):
    for one in cls.__subclasses__():
        yield one
        yield from all_of(one)
print(json.dumps({
    f"{cls.__name__}.{name}": repr(trait.default_value)
    for cls in all_of(HasTraits) for name, trait in vars(cls).items()
    if hasattr(trait, "default_value") and " at 0x" not in repr(trait.default_value)
}))
"""
# Every trait that a configuration can set, also by the name of a class that is derived from the one that has it.
CONFIGURABLE = """
import importlib, json, sys
import jupyterhub.singleuser.extension, jupyterlab.labapp, manylab.lab.server
from manylab.lab import rehearsal
from traitlets.config import Configurable
for name in (*rehearsal.LATE, *sys.argv[1:]):
    importlib.import_module(name)
def all_of(cls):
    for one in cls.__subclasses__():
        yield one
        yield from all_of(one)
print(json.dumps([f"{cls.__name__}.{name}" for cls in all_of(Configurable) for name in cls.class_traits(config=True)]))
"""
EXTENSIONS = (
    *("jupyter_lsp", "jupyter_resource_usage", "jupyter_server_proxy", "jupyter_server_terminals"),
    *("jupyterlab_code_formatter", "jupyterlab_git", "nbgitpuller"),
)
HUB_SAYS = (
    *("ACTIVITY_URL", "ADMIN_ACCESS", "API_TOKEN", "API_URL", "BASE_URL", "CLIENT_ID", "DEFAULT_URL", "GROUP", "HOST"),
    *("OAUTH_CALLBACK_URL", "PUBLIC_HUB_URL", "PUBLIC_URL", "ROOT_DIR", "SERVER_NAME", "SERVICE_NAME"),
    *("SERVICE_PREFIX", "SERVICE_URL", "SSL_CERTFILE", "SSL_CLIENT_CA", "SSL_KEYFILE", "USER"),
)
SOMEBODYS = {
    **{f"JUPYTERHUB_{name}": f"http://somebody/{name}" for name in HUB_SAYS},
    **{f"JUPYTERHUB_{name}": "1" for name in ("ALLOW_TOKEN_IN_URL", "COOKIE_HOST_PREFIX_ENABLED", "DEBUG_PROXY")},
    **{f"JUPYTER_{name}_DIR": f"/tmp/{name}" for name in ("CONFIG", "DATA", "RUNTIME")},
    **{f"JUPYTERLAB_{name}_DIR": f"/tmp/{name}" for name in ("SETTINGS", "WORKSPACES")},
    "HOME": "/tmp/home",
    "USER": "somebody",
    "LOGNAME": "somebody",
    "SHELL": "/bin/sh",
    "LANG": "zh_CN.UTF-8",
}


def look(site, alice):
    """Everything that can be compared of alice's server."""
    page = alice.open_lab()
    found = {"page": CHANGING.sub("", page)}
    for path in ASKED:
        answer = alice.server("GET", path)
        found[path] = f"{answer.status_code} {CHANGING.sub('', answer.text)}"
    # A cookie whose path is not the server's own is sent to other people's servers as well.
    found["cookies"] = "\n".join(sorted(f"{one.name} {one.path} {one.secure}" for one in alice.http.cookies.jar))
    found["headers"] = str(sorted(set(alice.server("GET", "api/me").headers) - {"date", "content-length", "etag"}))
    environ = alice.terminal("env -0 | sort -z | tr '\\0' '\\n'")
    found["environ"] = "\n".join(line for line in environ.splitlines() if not NEW.match(line))
    found["terminal"] = alice.terminal(
        "umask; ulimit -a; pwd; id; trap; readlink /proc/self/fd/* | grep -v pts | wc -l"
    )
    listed = json.loads(site.manylab("status", "--json").stdout)
    process = next(server["pid"] for server in listed["servers"] if server["user"] == "alice")
    script = (
        f"cd /proc/{process}; grep -E '^({'|'.join(STATUS)}):' status; cat limits oom_score_adj; readlink cwd root; "
        "for each in fd/*; do readlink $each | sed 's/[0-9][0-9]*/N/g'; done | sort | uniq -c"
    )
    found["process"] = site.machine.run(["bash", "-c", script]).stdout
    return found


def test_a_rehearsal_leaves_nothing_behind(site):
    python = next(iter(site.machine.run(["bash", "-c", "ls -d /opt/manylab/envs/server/*/bin/python"]).stdout.split()))
    # As somebody who may write nowhere but in /tmp, as the nursery's account.
    done = site.machine.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-I", "-c", REHEARSAL], cwd="/"
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["before"] == found["after"]
    assert (found["servers"], found["loop"], found["xsrf"], found["same"]) == (0, "None", False, True)
    assert found["modules"] > 1200, "it was not a whole start"
    assert "Traceback" not in done.stderr, done.stderr


def test_whatever_is_read_from_the_environment_at_import_is_given_to_each_server(site):
    """In a nursery the import is before anybody's environment is known: what is not given would be another person's,
    or nobody's.
    """
    python = next(iter(site.machine.run(["bash", "-c", "ls -d /opt/manylab/envs/server/*/bin/python"]).stdout.split()))
    defaults = []
    for environ in ({}, SOMEBODYS):
        assign = [f"{name}={value}" for name, value in {"PATH": "/usr/bin:/bin", **environ}.items()]
        done = site.machine.run(["env", "-i", *assign, python, "-I", "-c", DEFAULTS, *EXTENSIONS])
        defaults.append(json.loads(done.stdout.splitlines()[-1]))
    nobodys, somebodys = defaults
    read = {name for name in nobodys if nobodys[name] != somebodys.get(name)}
    assert {"HubAuth.base_url", "Session.username"} <= read, "the comparison finds what is known"
    given = config.settings({"MANYLAB_SOCKET": "/s", **SOMEBODYS}, home=Path("/tmp/home"), prefix=Path("/opt"))
    assert read <= {f"{section}.{name}" for section, traits in given.items() for name in traits}


def test_every_setting_that_is_given_is_one(site):
    """One that is not is left out without a word by a warm server, and with a warning by a cold one."""
    python = next(iter(site.machine.run(["bash", "-c", "ls -d /opt/manylab/envs/server/*/bin/python"]).stdout.split()))
    known = set(json.loads(site.machine.run([python, "-I", "-c", CONFIGURABLE, *EXTENSIONS]).stdout.splitlines()[-1]))
    given = config.settings({"MANYLAB_SOCKET": "/s", **SOMEBODYS}, home=Path("/tmp/home"), prefix=Path("/opt"))
    assert {f"{section}.{name}" for section, traits in given.items() for name in traits} <= known


def test_a_warm_server_is_like_a_cold_one(site):
    seen = {}
    for start in ("cold", "warm"):
        site.configure(f'[servers]\nstart = "{start}"\n')
        with site.up(), site.client("alice", "her password") as alice:
            if start == "warm":
                site.wait_for_log("the nursery server is ready")
            alice.sign_in()
            seen[start] = look(site, alice)
            assert re.findall(r"started the server alice/, pid \d+, (\w+):", site.logs(400))[-1] == start
            alice.stop_server()
    for name, cold in seen["cold"].items():
        assert seen["warm"][name] == cold, name
    assert "jupyterhub-user-alice /user/alice/ " in seen["warm"]["cookies"]
    # And these are answers, not the same error twice.
    assert "zh_CN" in seen["warm"]["lab/api/settings"]
    assert seen["warm"]["lab/api/translations/zh_CN"].startswith("200 ")
