"""What every command starts from: whose site it is about, and how it speaks."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from manylab.base.errors import NeedsRoot
from manylab.base.layout import Layout, find_layout


@dataclass(frozen=True)
class Context:
    """layout: the site's paths. as_json: print JSON. root: whether this is root."""

    layout: Layout
    as_json: bool
    root: bool

    def need_root(self, what: str) -> None:
        """Raises NeedsRoot unless this is root."""
        if not self.root:
            raise NeedsRoot(f"{what} changes the machine and needs root", hint="run it again with sudo in front")


def make_context(as_json: bool) -> Context:
    """From this process's own user and environment."""
    uid = os.getuid()
    home = Path(os.environ.get("HOME") or pwd.getpwuid(uid).pw_dir)
    return Context(find_layout(uid=uid, home=home, environ=os.environ), as_json, uid == 0)
