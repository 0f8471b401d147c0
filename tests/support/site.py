"""A site on a throwaway machine, ready in a second: `./manylab apply` was run on it once, and frozen.

    with Site("bookworm") as site:                        # Debian 12 without any init; or Site("trixie", "systemd")
        site.add_user("alice", "her password")
        with site.up(), site.client("alice", "her password") as alice:
            alice.sign_in()
            alice.open_lab()
            assert alice.run("print(1 + 1)") == "2\\n"
        assert site.left_behind() == []

    with Site("trixie", "sysv", config='[http]\\nbase_url = "/wsl"\\n') as site:
        site.install()                                    # waits until it answers
        site.manylab("status")

`site.machine` is the harness's Machine. The checkout is in /srv/manylab, the site listens on `site.machine.port`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from urllib.request import ProxyHandler, build_opener

import tomlkit
from harness import Completed, Init, Machine, Process, Running, wait_until

from support.build import CHECKOUT, site_root
from support.client import Client


class Site:
    """See the module's docstring. `config`: the text of manylab.toml; http.port is added to it. `machine`: another
    machine than the usual one; started and ended here unless it runs already.
    """

    def __init__(
        self, suite: str = "bookworm", init: Init = "none", *, config: str = "", machine: Machine | None = None
    ) -> None:
        self.suite, self.init, self.config_text = suite, init, config
        self._given = machine
        self._stack = contextlib.ExitStack()
        self.base_url = "/"

    def __enter__(self) -> Site:
        with contextlib.ExitStack() as stack:
            self.machine = self._given or Machine(site_root(self.suite, self.init))
            if not self.machine.leader:  # it is not running yet: then we also end it
                stack.enter_context(self.machine)
            self.configure(self.config_text)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self._stack.close()

    def configure(self, text: str, path: str = "/etc/manylab/manylab.toml", owner: str = "root") -> None:
        """Write manylab.toml, with this machine's port. Nothing is applied."""
        document = tomlkit.parse(text)
        http = document.setdefault("http", tomlkit.table())
        http.setdefault("port", self.machine.port)
        self.base_url = str(http.get("base_url", "/")).rstrip("/") + "/"
        self.machine.write(path, tomlkit.dumps(document), mode=0o600, owner=owner)

    @property
    def url(self) -> str:
        """The site's address, with base_url, ending in a slash."""
        return f"http://127.0.0.1:{self.machine.port}{self.base_url}"

    # what people type

    def manylab(
        self, *words: str, user: str | None = None, input: str | None = None, timeout: float = 300.0, check: bool = True
    ) -> Completed:
        """Run `./manylab WORDS` to its end, as root or `user`."""
        return self.machine.run(
            [f"{CHECKOUT}/manylab", *words], user=user, input=input, timeout=timeout, check=check, cwd="/"
        )

    def add_user(self, name: str, password: str, *more: str) -> None:
        """`manylab user add NAME --password-stdin`."""
        self.manylab("user", "add", name, "--password-stdin", *more, input=password + "\n")

    @contextlib.contextmanager
    def up(
        self, *, user: str | None = None, tty: bool = False, timeout: float = 120.0, words: Sequence[str] = ()
    ) -> Iterator[Running]:
        """`./manylab up` in the foreground until the block ends; entered when the site answers."""
        with self.machine.popen([f"{CHECKOUT}/manylab", "up", *words], user=user, tty=tty, cwd="/") as running:
            self.wait_until_it_answers(running, timeout)
            yield running
            if running.poll() is None:
                running.signal(15)
                running.wait(60)

    def install(self, *words: str, timeout: float = 300.0) -> Completed:
        """`./manylab install`, and wait until the site answers."""
        done = self.manylab("install", *words, timeout=timeout)
        self.wait_until_it_answers(timeout=60)
        return done

    # looking

    def answers(self) -> bool:
        """Whether the hub answers through the proxy."""
        try:
            with build_opener(ProxyHandler({})).open(f"{self.url}hub/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_until_it_answers(self, running: Running | None = None, timeout: float = 120.0) -> None:
        """Raises TimedOut with the logs, or at once when `running` has ended."""

        def look() -> bool:
            if running is not None and running.poll() is not None:
                raise AssertionError(f"manylab up ended with {running.poll()}:\n{running.output()}\n{self.logs()}")
            return self.answers()

        said = running.output if running is not None else lambda: ""
        wait_until(look, timeout, lambda: f"an answer from {self.url}:\n{said()}\n{self.logs()}")

    def client(self, name: str, password: str, *, language: str = "en") -> Client:
        """A browser of that person on the host; use it in a `with`, and begin with `sign_in()`."""
        return Client(self.url, name, password, language=language)

    def logs(self, lines: int = 60) -> str:
        """The end of what all parts of the site have logged (of root's site)."""
        show = f"tail -n {lines} /var/log/manylab/*.log 2>/dev/null; journalctl --no-pager -n {lines} 2>/dev/null"
        return self.machine.run(show, check=False).stdout

    def wait_for_log(self, text: str, timeout: float = 120.0) -> None:
        """Until the log says so somewhere."""
        wait_until(lambda: text in self.logs(400), timeout, lambda: f"{text!r} in the log:\n{self.logs()}")

    def left_behind(self) -> list[Process]:
        """Every process that is not the machine's own init system: after a stop there must be none."""
        own = (
            "sleep",
            "init",
            "/sbin/init",
            "/lib/systemd",
            "/usr/lib/systemd",
            "/usr/bin/dbus",
            "(sd-pam)",
            "startpar",
        )
        return [
            process
            for process in self.machine.processes()
            if process.pid != 1 and not " ".join(process.argv).startswith(own)
        ]

    def wait_until_nothing_is_left(self, timeout: float = 60.0) -> None:
        """Raises TimedOut, naming what still runs."""
        wait_until(lambda: not self.left_behind(), timeout, lambda: "\n".join(map(str, self.left_behind())))
