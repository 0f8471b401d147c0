"""Which environments a site has and what exactly is in each. Pure: locks are given as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from packaging.specifiers import SpecifierSet

from manylab.base.errors import Unsupported
from manylab.base.layout import Layout
from manylab.config import conda_packages, packages
from manylab.config.environments import Environment as Wanted
from manylab.config.schema import Config
from manylab.model import conda_lock
from manylab.model.facts import Facts, Python
from manylab.model.resources import CONDA, Asked, Copy, Environment, File, KernelSource, Link

# Raised when environments are built differently from the same lock, so that old ones are not taken for new ones.
FORMAT = 6

_NONE: Mapping[str, str] = MappingProxyType({})

HUB, SERVER, PROXY, DEFAULT = "hub", "server", "proxy", "default"
SCIENTIFIC = "scientific"

# What `servers.collaboration` brings.
COLLABORATION = ("jupyter-collaboration>=4",)
# Where each environment has a font with Chinese, Japanese and Korean (system.environments.fonts).
FONT = Path("share/fonts/wqy-microhei.ttc")
# manylab's own environments; all others are people's.
OWN = (HUB, SERVER, PROXY)

# What is downloaded where the machine has none that fits, newest first; no Python has had more patches than this.
_DOWNLOADED = ("3.14", "3.13", "3.12", "3.11", "3.10")
_PATCHES = 40

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
    asked: what manylab.toml says; None for the proxy, which has no settings.
    """

    name: str
    python: Python
    shipped: str
    requirements: tuple[str, ...]
    asked: Asked | None = None

    @property
    def digest(self) -> str:
        """Names the request: a lock that was solved for it is kept under this name."""
        # What is not asked for is not in it: the names of locks that were solved before stay.
        more: list[str] = []
        if self.asked is not None and self.asked.source:
            more += ["source", *sorted(self.asked.source)]
        if self.asked is not None and self.asked.indexes:
            more += ["indexes", *self.asked.indexes]
        if self.asked is not None and self.asked.backend == CONDA:
            said = (CONDA, self.asked.python, *self.asked.channels, "pip", *sorted(self.asked.pip))
            return _digest(*said, "packages", *sorted(self.requirements), *more)
        return _digest(self.python.minor, *sorted(self.requirements), *more)


def requests(config: Config, facts: Facts, inputs: Mapping[str, tuple[str, ...]]) -> tuple[Request, ...]:
    """All environments of the site. inputs: the requirements behind each shipped lock, by its name."""
    first = facts.pythons[0]
    found = [Request(PROXY, first, "proxy", inputs["proxy"])]
    for name, packages_asked, extra in (
        (HUB, config.hub.packages, ()),
        (SERVER, config.servers.packages, COLLABORATION if config.servers.collaboration else ()),
    ):
        more = (*packages_asked, *extra)
        asked = Asked(tuple(packages_asked), "", "uv")
        found.append(Request(name, first, "" if more else name, (*inputs[name], *more), asked))
    for name, wanted in config.envs.items():
        if wanted.backend == CONDA:
            found.append(_of_conda(name, wanted, first))
            continue
        asked_for = (*wanted.packages, *wanted.pip)
        requirements = [item for item in asked_for if item != SCIENTIFIC]
        if SCIENTIFIC in asked_for:
            requirements = [*inputs[SCIENTIFIC], *requirements]
        elif "ipykernel" not in map(packages.name, requirements):
            requirements.append("ipykernel")  # without it no kernel can start here
        shipped = SCIENTIFIC if asked_for == (SCIENTIFIC,) and not wanted.indexes else ""
        more = (tuple(wanted.pip), tuple(wanted.source), tuple(wanted.indexes), tuple(variables(wanted).items()))
        asked = Asked(tuple(wanted.packages), str(wanted.python), wanted.backend, (), *more)
        found.append(Request(name, _fitting(name, wanted.python, facts), shipped, tuple(requirements), asked))
    return tuple(found)


def _of_conda(name: str, wanted: Wanted, python: Python) -> Request:
    """Its Python is one of its packages; `python` is the machine's, which only starts programs in the cage."""
    asked_for = tuple(wanted.packages)
    specs = [item for item in asked_for if item != SCIENTIFIC]
    if SCIENTIFIC in asked_for:
        specs = [*conda_packages.SCIENTIFIC, *specs]
    elif "ipykernel" not in {*map(conda_packages.name, specs), *map(packages.name, wanted.pip)}:
        specs.append("ipykernel")
    asked = Asked(
        asked_for, str(wanted.python), CONDA, tuple(wanted.channels), tuple(wanted.pip), (), tuple(wanted.indexes),
        tuple(variables(wanted).items()),
    )  # fmt: skip
    return Request(name, python, "", tuple(specs), asked)


def _fitting(name: str, wanted: str, facts: Facts) -> Python:
    specifiers = SpecifierSet(wanted)
    for python in facts.pythons:
        if specifiers.contains(python.version):
            return python
    for minor in _DOWNLOADED if facts.downloads else ():
        fitting = [patch for patch in range(_PATCHES) if specifiers.contains(f"{minor}.{patch}")]
        if fitting:
            # As uv names it: for the minor version a link to the newest patch that it has.
            version = minor if fitting[-1] == _PATCHES - 1 else f"{minor}.{fitting[-1]}"
            folder = f"cpython-{version}-linux-{facts.machine}-gnu"
            return Python(f"{facts.downloads}/{folder}/bin/python{minor}", version)
    have = ", ".join(python.version for python in facts.pythons)
    raise Unsupported(
        f"envs.{name}.python asks for Python {wanted}, and this machine has {have}",
        hint="change the setting, or install that Python where everybody can run it (/usr/bin or /usr/local/bin); with "
        'backend = "conda" an environment brings its own',
    )


def build(asked: Request, lock: str, facts: Facts, layout: Layout, npm: tuple[str, str] | None) -> Environment:
    """The generation of an environment that fits the request and its lock."""
    own_code = OWN_CODE.get(asked.name, ())
    minor = asked.python.minor
    if conda_lock.is_conda(lock):
        minor = ".".join(conda_lock.parse(lock).python.split(".")[:2])
    npm_here = npm if asked.name == PROXY else None
    digest = _digest(
        str(FORMAT), asked.python.path, minor, facts.machine, lock,
        facts.source_digest[own_code] if own_code else "", *(npm_here or ()),
    )  # fmt: skip
    path = layout.env(asked.name) / digest
    return Environment(
        asked.name, path, digest, asked.python.path, minor, lock, own_code, npm_here,
        asked.requirements, asked.asked,
    )  # fmt: skip


def current(environment: Environment, layout: Layout) -> Link:
    """The link that makes a generation the one in use."""
    return Link(layout.env_current(environment.name), environment.digest)


def kernel_name(environment: str) -> str:
    """The name of an environment's kernel; "python3" is what notebooks from elsewhere ask for."""
    return "python3" if environment == DEFAULT else f"manylab-{environment}"


def kernel_spec(
    environment: Environment, wanted: Wanted, layout: Layout, usual: Mapping[str, str] = _NONE
) -> tuple[File, Copy]:
    """The environment as a kernel of the Lab, and its logo. It names the generation itself, so that running kernels
    keep theirs. usual: variables of the whole site, for `env shell`; kernels have them from their server.
    """
    name = str(environment.name)
    folder = layout.jupyter_data / "kernels" / kernel_name(name)
    spec = {
        "argv": [f"{environment.path}/bin/python", *KERNEL],
        "display_name": str(wanted.title) or ("Python 3" if name == DEFAULT else f"Python 3 ({name})"),
        "language": "python",
        "metadata": {
            "debugger": True,
            "manylab": {
                "environment": name,
                "description": str(wanted.description),
                # Read by manylab.lab.kernels.
                "groups": [str(group) for group in wanted.groups],
                "variables": dict(usual),
            },
        },
        "env": kernel_variables(environment, wanted),
    }
    # Python's own comes with ipykernel.
    logo = str(wanted.logo) or f"{environment.path}/share/jupyter/kernels/python3/logo-svg.svg"
    picture = "logo-svg.svg" if logo.lower().endswith(".svg") else "logo-64x64.png"
    return File(folder / "kernel.json", json.dumps(spec, indent=1) + "\n"), Copy(folder / picture, logo)


def variables(wanted: Wanted) -> dict[str, str]:
    """What manylab.toml says of the variables of an environment."""
    return {str(name): str(value) for name, value in wanted.variables.items()}


def kernel_variables(environment: Environment, wanted: Wanted) -> dict[str, str]:
    """The variables of an environment's kernels, as a kernel.json has them: there "$" begins a name."""
    said = {name: value.replace("$", "$$") for name, value in variables(wanted).items()}
    return {**said, "PATH": f"{environment.path}/bin:${{PATH}}"}


def kernel_source(environment: Environment, wanted: Wanted) -> KernelSource:
    """The environment as one that may have kernels of other languages."""
    groups = tuple(str(group) for group in wanted.groups)
    return KernelSource(
        environment.name, environment.path, groups, tuple(kernel_variables(environment, wanted).items())
    )


# What the word "auto" stands for in `preload`: what takes longest of what most notebooks begin with.
AUTO_PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")


def preload(wanted: Wanted) -> tuple[str, ...]:
    """The modules that an environment's nursery imports."""
    modules = [name for name in wanted.preload if name != "auto"]
    if "auto" in wanted.preload:
        has = {conda_packages.name(packages.name(item)) for item in (*wanted.packages, *wanted.pip)}
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
