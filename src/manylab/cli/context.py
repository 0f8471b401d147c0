"""What every command starts from: whose site it is about, and how it speaks."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manylab.base.errors import NeedsRoot, Refused
from manylab.base.layout import OWN, SITE, Layout, find_layout


@dataclass(frozen=True)
class Context:
    """layout: the site's paths. as_json: print JSON. root: whether this is root. own: there is a site of one's own
    that the command is not about.
    """

    layout: Layout
    as_json: bool
    root: bool
    own: Layout | None = None

    def need_root(self, what: str = "changing it") -> None:
        """Raises NeedsRoot unless this is root."""
        if not self.root:
            hint = f"sudo {typed()}"
            if self.own is not None:
                hint += f"; about your own site ({shown(self.own.config_file)}): {typed('--own')}"
            site = f"this is about root's site ({self.layout.config_file}); " if self.layout.system else ""
            raise NeedsRoot(f"{site}{what} needs root", hint=hint)

    @property
    def site(self) -> str:
        """The site in words, for the first line of a command that changes it."""
        file = self.layout.config_file
        return f"site {file}" if self.layout.system else f"your own site {shown(file)}"


def exists(layout: Layout) -> bool:
    """Whether anything was ever applied there."""
    return layout.rendered.is_dir()


def make_context(as_json: bool) -> Context:
    """From this process's own user and environment. Raises Refused when root asks for a site of its own."""
    uid = os.getuid()
    if uid == 0 and os.environ.get(SITE) == OWN:
        raise Refused("root's site is the machine's; it has no other", hint="leave out --own, or sudo")
    layout = find_site(os.environ)
    own = find_site({**os.environ, SITE: OWN})
    return Context(layout, as_json, uid == 0, own if own != layout and exists(own) else None)


def typed(*more: str) -> str:
    """The command line of this process as it can be typed again, with more options."""
    words = [word for word in sys.argv[1:] if word not in more]
    end = words.index("--") if "--" in words else len(words)
    return shlex.join(["manylab", *words[:end], *more, *words[end:]])


def shown(path: Path) -> str:
    """A path below the caller's home with ~."""
    home = _home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _home() -> Path:
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


def find_site(environ: Mapping[str, str]) -> Layout:
    """The site that this account means with these variables."""
    return find_layout(uid=os.getuid(), home=_home(), environ=environ, exists=exists)
