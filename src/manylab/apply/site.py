"""Everything that is known of a site before anything is done: its configuration, the machine's facts, the
locks, the resources.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manylab.apply import generations
from manylab.apply.generations import Generation
from manylab.base.errors import NotFound, Refused, Unsupported
from manylab.base.layout import Layout
from manylab.config import example
from manylab.config.load import parse, read
from manylab.config.schema import Config
from manylab.config.values import LIBRARY_PATH
from manylab.model import environments as model_environments
from manylab.model import site as model_site
from manylab.model.accounts import BUILD_ACCOUNT
from manylab.model.conda_lock import is_conda
from manylab.model.environments import Request
from manylab.model.facts import Facts
from manylab.model.resources import CONDA, Environment, Resource
from manylab.system import facts as system_facts
from manylab.system import locks as system_locks
from manylab.system import registries, tls
from manylab.system.conda import backend
from manylab.system.environments import MARKER, Say, conda, pythons, solve, sources
from manylab.system.files import everybody_can_read, others_can_write


@dataclass(frozen=True)
class Site:
    """A site, ready to be compared with the machine.

    asked: what is asked for in each environment. locks: by environment. unsolved: environments whose packages have not
    been solved yet; their resources are missing from `resources`.
    """

    layout: Layout
    config: Config
    config_text: str
    facts: Facts
    asked: tuple[Request, ...]
    locks: Mapping[str, str]
    unsolved: tuple[Request, ...]
    resources: tuple[Resource, ...]

    @property
    def digest(self) -> str:
        """Names everything that this site should be."""
        total = hashlib.sha256(self.config_text.encode())
        for resource in self.resources:
            total.update(repr(resource).encode() + b"\0")
        return total.hexdigest()[:16]

    @property
    def network(self) -> dict[str, str]:
        """Environment variables for everything that downloads."""
        return registries.environment(mirrors(self.config))

    @property
    def channel_mirrors(self) -> dict[str, str]:
        """Where conda's channels are found: "*" for all that have a name."""
        wanted = self.config.mirrors
        named = {str(name): str(address) for name, address in wanted.channels.items()}
        return ({"*": wanted.chosen.conda} if wanted.chosen.conda else {}) | named


def mirrors(config: Config) -> registries.Mirrors:
    """The site's [mirrors] for the installers."""
    wanted = config.mirrors
    chosen = wanted.chosen
    return registries.Mirrors(chosen.pypi, chosen.npm, str(wanted.proxy), str(wanted.ca_bundle))


def config_text(layout: Layout) -> str:
    """manylab.toml, or the example that will be written where there is none."""
    return read(layout.config_file) if layout.config_file.exists() else example.example_toml()


def look(
    layout: Layout,
    *,
    text: str | None = None,
    locks: Mapping[str, str] | None = None,
    source_digest: Mapping[tuple[str, ...], str] | None = None,
    service: str | None = None,
    operator: str | None = None,
) -> Site:
    """The site as its file, the machine and the known locks make it. Solves nothing, changes nothing.

    text, locks, source_digest: of an earlier generation, to go back to it. service, operator: as `install` wants
    them, before they are written down.
    Raises ConfigError with every problem of the file, Unsupported for a machine that cannot carry it.
    """
    text = config_text(layout) if text is None else text
    config = parse(text, str(layout.config_file))
    facts = system_facts.gather(layout)
    changed: dict[str, Any] = {"source_digest": source_digest, "service": service, "operator": operator}
    check_socket_paths(layout, facts, config)
    check_logos(config)
    check_libraries(config)
    facts = dataclasses.replace(facts, **{name: value for name, value in changed.items() if value is not None})
    facts = dataclasses.replace(
        facts, tls=tls.read_pair(config.https.certificate, config.https.key) if config.https.enabled else None
    )
    asked = model_environments.requests(config, facts, system_locks.inputs())
    known: dict[str, str] = {}
    unsolved: list[Request] = []
    for request in asked:
        lock = (locks or {}).get(request.name) or system_locks.find(layout, request)
        if lock is None:
            unsolved.append(request)
        else:
            known[request.name] = lock
    built = tuple(
        model_environments.build(request, known[request.name], facts, layout, system_locks.npm())
        for request in asked
        if request.name in known
    )
    resources = model_site.build(config, facts, layout, built)
    return Site(layout, config, text, facts, asked, known, tuple(unsolved), resources)


def check_logos(config: Config) -> None:
    """Raises NotFound for the logo of an environment that people could not read."""
    for name, wanted in config.envs.items():
        if wanted.logo and not everybody_can_read(Path(wanted.logo)):
            raise NotFound(
                f"envs.{name}.logo: not everybody can read {wanted.logo}, or it is not there",
                hint="put the file where people can read it, such as /srv, with mode 0644",
            )


def check_libraries(config: Config) -> None:
    """Raises Refused for a folder of LD_LIBRARY_PATH that others than root (or the site's owner) can write: kernels of
    everybody are forked from a process that has loaded what is in it.
    """
    for name, wanted in config.envs.items():
        for folder in filter(None, wanted.variables.get(LIBRARY_PATH, "").split(":")):
            if (path := others_can_write(Path(folder))) is not None:
                raise Refused(
                    f"envs.{name}.variables: LD_LIBRARY_PATH has {folder}, and others than root can write {path}",
                    hint=f"sudo chown root {path}; sudo chmod go-w {path}; or leave the folder out",
                )


def check_socket_paths(layout: Layout, facts: Facts, config: Config) -> None:
    """Raises Unsupported when the site's folder is so deep that unix sockets in it could have no address."""
    # sockaddr_un holds 107 bytes (unix(7)); the longest of ours is that of a named server of somebody with a long name.
    person = facts.person or "x" * 32
    longest = layout.server_run(person, "x" * 30 if config.servers.named else "") / "server.sock"
    if len(str(longest).encode()) > 107:
        raise Unsupported(
            f"{layout.run} is too long a path for unix sockets", hint="choose a shorter MANYLAB_ROOT or XDG_RUNTIME_DIR"
        )


def solve_missing(site: Site, say: Say) -> dict[str, str]:
    """Solve what has no lock yet: the locks, by environment. Nothing is kept; that is done when they are in use."""
    return {request.name: solve_one(site, request, say) for request in site.unsolved}


def solve_one(site: Site, request: Request, say: Say, *, afresh: bool = False, upgrade: Sequence[str] = ()) -> str:
    """A new lock for a request, as near to what is in use as it allows.

    afresh: the newest of everything instead. upgrade: packages for which what is in use does not count.
    """
    before = generations.current(site.layout)
    known = before.locks() if before is not None else {}
    near = site.locks.get(request.name) or known.get(request.name) or ""
    network = registries.with_indexes(site.network, request.asked.indexes if request.asked is not None else ())
    if request.asked is not None and request.asked.backend == CONDA:
        wanted = backend.Wanted(request.asked.channels, request.requirements, request.asked.python, request.asked.pip)
        where = conda.site(site.layout.cache, network, site.channel_mirrors, say)
        return backend.solve(wanted, prefer="" if afresh else near, upgrade=upgrade, site=where, say=say)
    if is_conda(near):
        near = ""
    pythons.ensure(
        request.python.path,
        folder=site.layout.pythons,
        cache=site.layout.cache,
        network=site.network,
        say=say,
    )
    network = _with_built_wheels(site, request, network, say, afresh=afresh or bool(upgrade))
    return solve(
        request.requirements,
        prefer="" if afresh else near or system_locks.shipped(model_environments.SCIENTIFIC),
        upgrade=upgrade,
        python=request.python.path,
        cache=site.layout.cache,
        network=network,
        say=say,
    )


def _with_built_wheels(
    site: Site, request: Request, network: dict[str, str], say: Say, *, afresh: bool
) -> dict[str, str]:
    """The network, in which the packages that may be built from source have wheels."""
    if request.asked is None or not request.asked.source:
        return network
    store = site.layout.built_wheels
    sources.make_wheels(
        sources.names(request.asked.source, request.requirements),
        python=request.python,
        store=store,
        cache=site.layout.cache,
        network=network,
        builder=BUILD_ACCOUNT,
        say=say,
        afresh=afresh,
    )
    return sources.reachable(store, network)


def keep_locks(site: Site) -> None:
    """Remember the locks of a site, so that its requests give the same environments from now on."""
    for request in site.asked:
        lock = site.locks.get(request.name)
        if lock is not None and lock != system_locks.find(site.layout, request):
            system_locks.keep(site.layout, request, lock)


def of_generation(layout: Layout, generation: Generation) -> Site:
    """The site as an earlier generation had it: its configuration, its locks, its own code of manylab if that is
    still there.
    """
    locks = generation.locks()
    old = look(layout, text=generation.config_text, locks=locks, source_digest=generation.source_digest)
    hub = next((item for item in old.resources if isinstance(item, Environment) and item.name == "hub"), None)
    if hub is not None and not (hub.path / MARKER).exists():
        # The environment with that code was removed; the code that runs now can be put in its place, that one cannot.
        return look(layout, text=generation.config_text, locks=locks)
    return old
