"""Which environments a site has and what exactly is in each. Pure: locks are given as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from manylab.base.errors import Unsupported
from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.config.schema import Environment as Wanted
from manylab.model.facts import Facts, Python
from manylab.model.resources import Asked, Environment, File, Link

# Raised when environments are built differently from the same lock, so that old ones are not taken for new ones.
FORMAT = 3

HUB, SERVER, PROXY, DEFAULT = "hub", "server", "proxy", "default"
SCIENTIFIC = "scientific"

# As ipykernel's own spec has it; without frozen modules the debugger sees the standard library.
_OPTIONS = ("-Xfrozen_modules=off",)
KERNEL = (*_OPTIONS, "-m", "ipykernel_launcher", "-f", "{connection_file}")

# manylab's own code inside its environments. A person's server needs little of it, so that most upgrades leave their
# environment alone.
OWN_CODE: dict[str, tuple[str, ...]] = {HUB: ("*",), SERVER: ("base", "lab", "warm")}


@dataclass(frozen=True)
class Request:
    """What is asked for in one environment.

    shipped: the lock that comes with manylab and fits, "" when it must be solved. requirements: what to solve then.
    asked: what manylab.toml says, None for manylab's own environments.
    """

    name: str
    python: Python
    shipped: str
    requirements: tuple[str, ...]
    asked: Asked | None = None

    @property
    def digest(self) -> str:
        """Names the request: a lock that was solved for it is kept under this name."""
        return _digest(self.python.minor, *sorted(self.requirements))


def requests(config: Config, facts: Facts, inputs: Mapping[str, tuple[str, ...]]) -> tuple[Request, ...]:
    """All environments of the site. inputs: the requirements behind each shipped lock, by its name."""
    first = facts.pythons[0]
    extra = tuple(config.hub.packages)
    found = [
        Request(PROXY, first, "proxy", inputs["proxy"]),
        Request(HUB, first, "" if extra else "hub", (*inputs["hub"], *extra)),
        Request(SERVER, first, "server", inputs["server"]),
    ]
    for name, wanted in config.envs.items():
        packages = tuple(wanted.packages)
        requirements = [item for item in packages if item != SCIENTIFIC]
        if SCIENTIFIC in packages:
            requirements = [*inputs[SCIENTIFIC], *requirements]
        elif not any(item.split("[")[0].startswith("ipykernel") for item in requirements):
            requirements.append("ipykernel")  # without it no kernel can start here
        shipped = SCIENTIFIC if packages == (SCIENTIFIC,) else ""
        asked = Asked(packages, str(wanted.python), wanted.backend)
        found.append(Request(name, _fitting(name, wanted.python, facts), shipped, tuple(requirements), asked))
    return tuple(found)


def _fitting(name: str, wanted: str, facts: Facts) -> Python:
    specifiers = SpecifierSet(wanted)
    for python in facts.pythons:
        if specifiers.contains(python.version):
            return python
    have = ", ".join(python.version for python in facts.pythons)
    raise Unsupported(
        f"envs.{name}.python asks for Python {wanted}, and this machine has {have}",
        hint="change the setting, or install that Python where everybody can run it (/usr/bin or /usr/local/bin)",
    )


def build(asked: Request, lock: str, facts: Facts, layout: Layout, npm: tuple[str, str] | None) -> Environment:
    """The generation of an environment that fits the request and its lock."""
    own_code = OWN_CODE.get(asked.name, ())
    npm_here = npm if asked.name == PROXY else None
    digest = _digest(
        str(FORMAT), asked.python.path, asked.python.minor, facts.machine, lock,
        facts.source_digest[own_code] if own_code else "", *(npm_here or ()),
    )  # fmt: skip
    path = layout.env(asked.name) / digest
    return Environment(
        asked.name, path, digest, asked.python.path, asked.python.minor, lock, own_code, npm_here,
        asked.requirements, asked.asked,
    )  # fmt: skip


def current(environment: Environment, layout: Layout) -> Link:
    """The link that makes a generation the one in use."""
    return Link(layout.env_current(environment.name), environment.digest)


def kernel_spec(environment: Environment, layout: Layout) -> File:
    """The environment as a kernel of the Lab. It names the generation itself, so that running kernels keep theirs."""
    default = environment.name == DEFAULT
    folder = "python3" if default else f"manylab-{environment.name}"
    spec = {
        "argv": [f"{environment.path}/bin/python", *KERNEL],
        "display_name": "Python 3" if default else f"Python 3 ({environment.name})",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {"PATH": f"{environment.path}/bin:${{PATH}}"},
    }
    return File(layout.jupyter_data / "kernels" / folder / "kernel.json", json.dumps(spec, indent=1) + "\n")


# What the word "auto" stands for in `preload`: what takes longest of what most notebooks begin with.
AUTO_PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")


def preload(wanted: Wanted) -> tuple[str, ...]:
    """The modules that an environment's nursery imports."""
    modules = [name for name in wanted.preload if name != "auto"]
    if "auto" in wanted.preload:
        has = {Requirement(item).name.lower() for item in wanted.packages if item != SCIENTIFIC}
        modules = [
            name for name in AUTO_PRELOAD if SCIENTIFIC in wanted.packages or name.split(".")[0] in has
        ] + modules
    return tuple(dict.fromkeys(modules))


def interpreter(environment: Environment) -> list[str]:
    """How a kernel's interpreter is started, without what it runs."""
    return [str(python_of(environment)), *_OPTIONS]


def python_of(environment: Environment) -> Path:
    """The interpreter inside an environment."""
    return environment.path / "bin/python"


def _digest(*parts: str) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() + b"\0")
    return total.hexdigest()[:12]
