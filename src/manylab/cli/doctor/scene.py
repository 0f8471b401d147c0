"""What all checks look at: the site, its people and its running parts, each found out once and only when asked for."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from manylab.apply.site import Site, config_text, look
from manylab.base.errors import BadName, ManylabError, NotFound
from manylab.base.layout import Layout
from manylab.cli.doctor import homes
from manylab.cli.doctor.homes import Home
from manylab.cli.look import parts, processes
from manylab.config.load import parse
from manylab.config.schema import Config
from manylab.model.resources import Environment
from manylab.system import accounts, asking, facts
from manylab.system.accounts import Person
from manylab.system.warden_client import ask_sync
from manylab.warden.processes import MARKER

NOBODY = 65534
PROXY_TOKEN, COOKIE_SECRET = "the proxy's token", "the cookie secret"
_TOKEN = re.compile(r"[0-9a-f]{32}")  # jupyterhub.utils.new_token
_ANSWERS_WITHIN = 5.0  # seconds; a warden that needs longer is as good as gone


class Skip(Exception):
    """A check cannot be made here; its text says why."""


@dataclass(frozen=True)
class Scene:
    """layout: the site's paths. root: whether this is root. umask: that of the caller's shell."""

    layout: Layout
    root: bool
    umask: int

    @cached_property
    def config(self) -> Config:
        """manylab.toml, checked. Raises Skip when it cannot be had: `config-wrong` says so."""
        if self.layout.system:
            self.need_root()
        try:
            return parse(config_text(self.layout), str(self.layout.config_file))
        except ManylabError:
            raise Skip("manylab.toml is not in order (see config-wrong)") from None

    @cached_property
    def site(self) -> Site:
        """Everything that the site should be. Raises Skip when that cannot be worked out."""
        _ = self.config
        try:
            return look(self.layout)
        except ManylabError as error:
            raise Skip(f"what the site should be cannot be worked out: {error.message}") from None

    @cached_property
    def wanted(self) -> dict[str, Environment]:
        """The environments that the site should have, by name."""
        return {item.name: item for item in self.site.resources if isinstance(item, Environment)}

    @property
    def group(self) -> str:
        return str(self.config.people.group)

    @cached_property
    def _asked(self) -> tuple[list[str] | None, tuple[Person, ...]] | str:
        """Names in the group (None without one), and who of them has an account; or what is said of a directory of
        accounts that does not answer.
        """
        group = self.group if self.layout.system else None
        try:
            found, people = asking.ask(lambda: _members(group))
        except asking.NoAnswer as silent:
            return f"the directory of accounts {silent.message}"
        return found, tuple(Person(name, uid, gid, Path(home), shell) for name, uid, gid, home, shell in people)

    @property
    def silent(self) -> str:
        """What is said of a directory of accounts that does not answer; "" when it does."""
        return self._asked if isinstance(self._asked, str) else ""

    @property
    def has_group(self) -> bool:
        """Whether the site's group exists, as far as the directory answers."""
        return not isinstance(self._asked, str) and self._asked[0] is not None

    def _known(self) -> tuple[list[str], tuple[Person, ...]]:
        """Raises Skip where nothing is known of the group's members."""
        if isinstance(self._asked, str):
            raise Skip(self._asked)
        names, people = self._asked
        if names is None:
            raise Skip("the site's group does not exist (see group-missing)")
        return names, people

    @property
    def members(self) -> tuple[Person, ...]:
        """All who may sign in; on a personal site that is its owner. Raises Skip without a group."""
        if self.layout.system:
            self.need_site()
        return self._known()[1]

    @cached_property
    def homes(self) -> dict[str, Home | str]:
        """The home of each of `people` by name, as they see it; or why it is not known."""
        said = asking.ask_each(self.people, lambda person: homes.look_at(person.home))
        return {
            person.name: answer.message if isinstance(answer, asking.NoAnswer) else homes.of(answer)
            for person, answer in zip(self.people, said, strict=True)
        }

    @cached_property
    def home_of_root(self) -> Home | None:
        """/root, for root; None when it is not known."""
        try:
            return homes.of(asking.ask(lambda: homes.look_at(Path("/root"))))
        except asking.NoAnswer:
            return None

    @property
    def people(self) -> tuple[Person, ...]:
        """Members who can have a server: what is in the homes of system accounts is nobody's business here."""
        least = 0 if not self.layout.system else self.site.facts.min_uid
        return tuple(person for person in self.members if person.uid >= least and person.uid != NOBODY)

    @property
    def member_names(self) -> list[str]:
        """Names in the site's group. Raises Skip without a group, and for a personal site, which asks no group."""
        if not self.layout.system:
            raise Skip("a personal site serves its owner alone")
        self.need_site()
        return self._known()[0]

    @cached_property
    def installed(self) -> dict[str, str]:
        """How the site is installed as a service; {} when it is not."""
        return facts.read_installed(self.layout)

    @cached_property
    def parts(self) -> parts.Parts:
        """The state of warden, proxy and hub."""
        return parts.observe(self.layout, self.installed.get("service", ""))

    @cached_property
    def servers(self) -> list[dict[str, Any]]:
        """People's running servers, as the warden lists them. Raises Skip when the site does not run."""
        self.need_running()
        return list(ask_sync(self.layout.warden_socket, {"do": "list"}, _ANSWERS_WITHIN).get("servers", []))

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The values that must be nowhere else, by what they are. Never print them.

        For root, or the owner of a personal site.
        """
        if self.layout.system:
            self.need_root()
        found = {}
        for name, path in (
            (PROXY_TOKEN, self.layout.hub_proxy_token),
            (COOKIE_SECRET, self.layout.cookie_secret),
        ):
            if path.is_file() and not path.is_symlink():
                found[name] = path.read_text(encoding="ascii", errors="replace").strip()
        tokens = {}  # by value: every process that a server started has the same
        for environment in processes.environs(processes.pids()).values():
            token = environment.get("JUPYTERHUB_API_TOKEN", "")
            # Anybody can give a process of theirs this variable, with a word in it that is everywhere.
            if not _TOKEN.fullmatch(token):
                continue
            tokens[token] = f"{environment.get('USER', 'somebody')}'s server" if MARKER in environment else "a service"
        for number, (token, whose) in enumerate(tokens.items()):
            name = f"the token of {whose}"
            found[name if name not in found else f"{name} ({number})"] = token
        # A short text would be found everywhere.
        return {name: value for name, value in found.items() if len(value) >= 16}

    def built(self, name: str) -> Path:
        """The generation of an environment that is in use. Raises Skip when there is none: `env-missing` says so."""
        path = self.layout.env_current(name)
        if not path.is_dir():
            raise Skip(f"environment {name} is not there (see env-missing)")
        return path.resolve()

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of environments that are in use."""
        return tuple(sorted(path.parent.name for path in self.layout.envs.glob("*/current") if path.is_dir()))

    def need_site(self) -> None:
        """Raises Skip where nothing was applied yet."""
        if not self.layout.hub_json.parent.is_dir():
            raise Skip("there is no site on this machine yet")

    def need_system(self) -> None:
        """Raises Skip on a personal site."""
        if not self.layout.system:
            raise Skip("only concerns a site that root serves")

    def need_root(self) -> None:
        """Raises Skip unless this is root."""
        if not self.root:
            raise Skip("only root may look")

    def need_running(self) -> None:
        """Raises Skip while the site does not run."""
        self.need_site()
        if not self.parts.running:
            raise Skip("the site does not run")
        if self.layout.system:
            self.need_root()


def make_scene(layout: Layout) -> Scene:
    """For this process's own user. Sets the umask and puts it back, the only way to learn it."""
    umask = os.umask(0o022)
    os.umask(umask)
    return Scene(layout, os.getuid() == 0, umask)


def _members(group: str | None) -> tuple[list[str] | None, list[tuple[str, int, int, str, str]]]:
    """Names in a group (None without it; for no group, this user's own) and the accounts of these names."""
    try:
        names = [pwd.getpwuid(os.getuid()).pw_name] if group is None else accounts.members(group)
    except NotFound:
        return None, []
    found = filter(None, map(_person, names))
    return names, [(one.name, one.uid, one.gid, str(one.home), one.shell) for one in found]


def _person(name: str) -> Person | None:
    try:
        return accounts.find_person(name)
    except BadName:  # no account can have it
        return None
