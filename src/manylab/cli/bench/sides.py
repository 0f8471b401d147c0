"""What is compared: ways to run the same JupyterHub on the same machine, each with a hub and a proxy of its own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from manylab.apply.site import Site
from manylab.base.errors import NotInstalled
from manylab.model import environments, resources
from manylab.system import environments as system_environments

# What the cell with packages imports, and what manylab's warm kernels have imported when they are asked for.
STACK = ("numpy", "pandas", "matplotlib.pyplot")


class Side(Protocol):
    """name: as in `--side`. title: for people. about: what exactly it is, in one sentence."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...

    def up(self) -> contextlib.AbstractContextManager[str]:
        """Run it, as new, until the block ends: the address of its proxy."""


@dataclass(frozen=True)
class Installed:
    """The environments of the machine's site, which every side uses."""

    hub: resources.Environment
    server: resources.Environment
    proxy: resources.Environment
    default: resources.Environment
    all: tuple[resources.Environment, ...]

    @property
    def hub_python(self) -> str:
        return str(environments.python_of(self.hub))


def installed(site: Site) -> Installed:
    """Raises NotInstalled unless the site's environments are there, as this version of manylab makes them."""
    built = {item.name: item for item in site.resources if isinstance(item, resources.Environment)}
    wanted = (environments.HUB, environments.SERVER, environments.PROXY, environments.DEFAULT)
    missing = [
        name
        for name in wanted
        if name not in built or system_environments.observe_environment(built[name]) != built[name]
    ]
    if missing:
        raise NotInstalled(
            f"this machine has no complete environment {missing[0]!r} of this version of manylab",
            hint="run 'manylab apply' first; the bench uses the environments of the machine's site",
        )
    hub, server, proxy, default = (built[name] for name in wanted)
    return Installed(hub, server, proxy, default, tuple(built.values()))
