"""A site with two people who have nothing to do with each other: alice, and eve who wants what is alice's.

with pair("bookworm", "systemd") as two:
    assert two.attack("connect", two.socket("alice")) == "EACCES"       # as eve, in a shell
    assert two.attack_in_kernel("listing", "/tmp") == []                # as eve, in her own kernel
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Init, Running

from support.build import SMALL
from support.client import Client
from support.looking import ask, in_memory
from support.site import Site

PYTHON = "/opt/manylab/envs/default/current/bin/python"
ATTACKS = Path(__file__).with_name("attacks.py").read_text(encoding="utf-8")
# Not written down: this file is on the machine too, and whoever searches there would find them in it.
PASSWORDS = {name: secrets.token_urlsafe(18) for name in ("alice", "eve")}
# Where somebody's secret could lie about.
FOLDERS = ("/run", "/var/lib/manylab", "/var/log", "/etc", "/opt/manylab/etc", "/opt/manylab/share", "/home")
FOLDERS += ("/tmp", "/var/tmp", "/dev/shm", "/srv")


@dataclass
class Pair:
    """Both have a Lab and a kernel."""

    site: Site
    alice: Client
    eve: Client

    def attack(self, what: str, *arguments: Any, user: str = "eve", like: str = "") -> Any:
        """A function of attacks.py, as that account in a shell of the machine; what it returned.

        like: with the folders that this person's own server sees, instead of those that a login has.
        """
        argv = [PYTHON, "-I", "-", what, json.dumps(arguments)]
        if like:
            who = self.site.machine.person(user)
            drop = [f"--reuid={who.uid}", f"--regid={who.gid}", "--init-groups", "--inh-caps=-all"]
            argv = ["nsenter", "-t", str(self.server_pid(like)), "-m", "setpriv", *drop, *argv]
        as_whom = None if like or user == "root" else user
        return json.loads(self.site.machine.run(argv, user=as_whom, input=ATTACKS, cwd="/").stdout)

    def server_pid(self, name: str) -> int:
        """The process that is somebody's server."""
        servers = ask(self.site, "status")["servers"]
        return int(next(one["pid"] for one in servers if one["user"] == name))

    def attack_in_kernel(self, what: str, *arguments: Any) -> Any:
        """The same in eve's kernel."""
        return in_kernel(self.eve, what, *arguments)

    @contextlib.contextmanager
    def holding(self, address: str | int, count: int, *, say: str = "", user: str = "eve") -> Iterator[int]:
        """While `user` keeps connections open on which no more than `say` is said; how many there were."""
        self.site.machine.write("/srv/attacks.py", ATTACKS)
        argv = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh"]
        argv += [PYTHON, "-I", "/srv/attacks.py", "hold", json.dumps([address, count, say])]
        with self.site.machine.popen(argv, user=user, cwd="/", tty=True) as running:
            yield int(running.wait_for_output(r"(\d+)\r?\n", 60)[1])

    @contextlib.contextmanager
    def victim(self, code: str, *, user: str = "alice") -> Iterator[Running]:
        """A program of alice's that takes no care; entered when it has printed "ready"."""
        with self.site.machine.popen([PYTHON, "-I", "-u", "-c", code], user=user, cwd="/") as running:
            running.wait_for_output("ready", 60)
            yield running

    def socket(self, name: str, server: str = "_") -> str:
        """Where somebody's server listens."""
        return f"/run/manylab/servers/{name}/{server}/server.sock"

    def uid(self, name: str) -> int:
        return self.site.machine.person(name).uid

    def pids(self, *names: str) -> list[int]:
        """Every process of these accounts."""
        uids = {self.uid(name) for name in names}
        return [process.pid for process in self.site.machine.processes() if process.uid in uids]

    def secrets(self) -> dict[str, str]:
        """What of alice's nobody else may know: {what it is: its text}."""
        token = self.alice.run("import os; print(os.environ.get('JUPYTERHUB_API_TOKEN', ''), end='')")
        found = {"password": PASSWORDS["alice"], "token": token}
        for cookie in self.alice.http.cookies.jar:
            if cookie.name != "_xsrf" and cookie.value:
                found[f"cookie {cookie.name} of {cookie.path}"] = cookie.value.strip('"')
        return {what: secret for what, secret in found.items() if len(secret) >= 16}


def in_kernel(client: Client, what: str, *arguments: Any) -> Any:
    """A function of attacks.py in somebody's kernel."""
    source = ATTACKS.partition("if __name__ ==")[0].replace("from __future__ import annotations", "")
    said = client.run(f"{source}\nprint(json.dumps({what}(*json.loads({json.dumps(json.dumps(arguments))}))))")
    return json.loads(said)


@contextlib.contextmanager
def pair(suite: str, init: Init, config: str = SMALL) -> Iterator[Pair]:
    """The site runs as people would have it: installed where there is an init system, else `manylab up`."""
    machine = in_memory(suite, init, small=True)
    with Site(suite, init, config=config, machine=machine) as site, contextlib.ExitStack() as stack:
        for name, password in PASSWORDS.items():
            site.add_user(name, password)
        if init == "none":
            stack.enter_context(site.up())
        else:
            site.install()
        clients = [stack.enter_context(site.client(name, password)) for name, password in PASSWORDS.items()]
        for client in clients:
            client.sign_in()
            client.open_lab()
            client.run("1")
        yield Pair(site, *clients)
