"""manylab's own sides of a bench, warm and cold."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from manylab.apply.converge import converge
from manylab.apply.site import Site
from manylab.base.layout import Layout
from manylab.cli.bench import place as places
from manylab.cli.bench.place import Place
from manylab.cli.bench.programs import running, wait_until_it_answers
from manylab.cli.bench.sides import STACK, Installed
from manylab.config.load import parse
from manylab.model import environments, resources
from manylab.model import site as model_site
from manylab.system.observe import Machine

# Seconds for all imports of the nurseries.
READY_WITHIN = 120.0


@dataclass(frozen=True)
class Manylab:
    """manylab itself: hub, proxy, warden and supervisor as `manylab up` runs them, with folders of their own."""

    start: str
    site: Site
    envs: Installed
    place: Place

    @property
    def name(self) -> str:
        return self.start

    @property
    def title(self) -> str:
        return f"manylab, {self.start}"

    @property
    def about(self) -> str:
        return f'this manylab with servers.start = "{self.start}": PAM, unix sockets, hub and proxy without root'

    @contextlib.contextmanager
    def up(self) -> Iterator[str]:
        """See Side."""
        layout = self.place.layout(self.site.layout)
        for folder in (self.place.run, layout.config.parent):
            places.empty(folder)
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        (port,) = places.free_ports(1)
        config = parse(self._config(port), "the bench's configuration")
        facts = dataclasses.replace(self.site.facts, service="", operator="", tls=None)
        machine = Machine(layout, None, {}, lambda line: None)
        wanted = model_site.build(config, facts, layout, self.envs.all)
        converge([item for item in wanted if self._is_ours(item)], machine)
        for item in self.envs.all:
            current = layout.env_current(item.name)
            current.parent.mkdir(parents=True, exist_ok=True)
            current.symlink_to(item.path)
        url = f"http://127.0.0.1:{port}/"
        argv = [self.envs.hub_python, "-I", "-m", "manylab.supervise", str(layout.services_json), "--foreground"]
        with running(argv, self.place, "supervisor.log") as pid:
            wait_until_it_answers(url, pid, self.place)
            _wait_for_nurseries(layout)
            yield url

    def _config(self, port: int) -> str:
        """manylab.toml of the bench's site: the machine's environments, no limits, nothing of its own choice else."""
        envs = {
            name: {"python": str(wanted.python), "packages": [str(item) for item in wanted.packages]}
            for name, wanted in self.site.config.envs.items()
        }
        default: dict[str, object] = dict(envs[environments.DEFAULT])
        default["preload"] = list(STACK)
        return tomlkit.dumps(
            {
                "http": {"address": "127.0.0.1", "port": port},
                "people": {"authenticator": "pam", "group": places.GROUP},
                "servers": {"start": self.start, **self._shared()},
                "hub": {"packages": [str(item) for item in self.site.config.hub.packages]},
                "envs": {**envs, environments.DEFAULT: default},
            }
        )

    def _shared(self) -> dict[str, object]:
        """What all servers of the machine may use together is set in one place, whichever site they belong to."""
        said = self.site.config.as_data()["servers"]
        return {name: said[name] for name in ("total_memory",) if name in said}

    def _is_ours(self, item: resources.Resource) -> bool:
        """Whether it is in the bench's folders: accounts, environments and the machine's own files are the site's."""
        if isinstance(item, resources.Secret):
            path = item.copies[0][0]
        elif isinstance(item, resources.Directory | resources.File):
            path = item.path
        else:
            return False
        return path.is_relative_to(self.place.state) or path.is_relative_to(self.place.run)


def _wait_for_nurseries(layout: Layout) -> None:
    """Until everything that forks has imported what it is told to; a start before that would be cold.

    One that does not come up is not waited for for ever: the table then says how many starts were cold.
    """
    said = json.loads(layout.warden_json.read_text(encoding="utf-8"))
    sockets = [Path(said["nursery_run"]) / f"{one['name']}.sock" for one in said.get("nurseries", ())]
    deadline = time.monotonic() + READY_WITHIN
    while not all(path.exists() for path in sockets) and time.monotonic() < deadline:
        time.sleep(0.05)
