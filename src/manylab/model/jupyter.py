"""What every person's Jupyter server finds: its configuration folder, kernel specs, variables. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.model import environments, locked
from manylab.model.resources import Directory, Environment, File, Kernels, Link, Resource

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")

# Packages of which one half runs in the kernel and the other in the Lab, and the name of that other half there, as
# their wheels have it: what a notebook of an environment shows, the Lab shows, without the package being installed a
# second time for the server. Only what draws: nothing that changes the Lab itself, its menus or its keys.
WIDGETS = {
    "anywidget": "anywidget",
    "bqplot": "bqplot",
    "ipycanvas": "ipycanvas",
    "ipycytoscape": "jupyter-cytoscape",
    "ipydatagrid": "ipydatagrid",
    "ipyevents": "ipyevents",
    "ipympl": "jupyter-matplotlib",
    "ipytree": "ipytree",
    "ipyvolume": "ipyvolume",
    "ipyvue": "jupyter-vue",
    "ipyvuetify": "jupyter-vuetify",
    "ipywebrtc": "jupyter-webrtc",
    "jupyter-leaflet": "jupyter-leaflet",
    "plotly": "jupyterlab-plotly",
    "pythreejs": "jupyter-threejs",
}


def resources(config: Config, built: Sequence[Environment], layout: Layout) -> Iterator[Resource]:
    """Kernel specs of all user environments, and what the Lab is told by default."""
    # Without this file Jupyter tries to carry over settings of IPython 3, into a folder that nobody may write.
    yield File(layout.jupyter_config / "migrated", "\n")
    overrides: dict[str, dict[str, object]] = {
        # The Lab would ask everybody whether to fetch news from the network. Whether there is a newer Lab is asked of
        # its own server (lab.newer).
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": True},
    }
    pylsp = {"pylsp.plugins.jedi.environment": str(layout.env_current(config.env.default))}
    overrides["@jupyter-lsp/jupyterlab-lsp:plugin"] = {"languageServers": {"pylsp": {"serverSettings": pylsp}}}
    yield Directory(layout.jupyter_config / "labconfig", 0o755)
    text = json.dumps(overrides, indent=1, sort_keys=True) + "\n"
    yield File(layout.jupyter_config / "labconfig/default_setting_overrides.json", text)
    usual = theirs(config, layout)
    for environment in user_environments(built):
        spec, logo = environments.kernel_spec(environment, config.envs[environment.name], layout, usual)
        yield Directory(spec.path.parent, 0o755)
        yield spec
        yield logo
    sources = (environments.kernel_source(one, config.envs[one.name]) for one in default_first(config, built))
    yield Kernels(layout.jupyter_data / "kernels", tuple(sources))
    yield Directory(layout.jupyter_labextensions, 0o755)
    yield from widgets(config, built, layout)


def widgets(config: Config, built: Sequence[Environment], layout: Layout) -> Iterator[Link]:
    """The Lab's half of the widgets that environments have. Of several environments the one for new notebooks comes
    first, then the order of the file: the Lab has one version of each.
    """
    mine = default_first(config, built)
    found: dict[str, str] = {}
    for environment in mine:
        for package in WIDGETS.keys() & locked.versions(environment.lock, environment.python_minor).keys():
            found.setdefault(WIDGETS[package], environment.name)
    for extension, name in sorted(found.items()):
        target = layout.env_current(name) / "share/jupyter/labextensions" / extension
        yield Link(layout.jupyter_labextensions / extension, str(target))


def default_first(config: Config, built: Sequence[Environment]) -> list[Environment]:
    """People's environments, that for new notebooks before the others."""
    return sorted(user_environments(built), key=lambda environment: environment.name != config.env.default)


def user_environments(built: Sequence[Environment]) -> tuple[Environment, ...]:
    """Those with people's packages, in the order of the file."""
    return tuple(
        found for found in built if found.name not in (environments.HUB, environments.SERVER, environments.PROXY)
    )


def search_path(config: Config, layout: Layout) -> tuple[Path | str, ...]:
    """PATH of servers, kernels and terminals: the environment for terminals before everything else."""
    return (layout.env_current(config.env.terminal) / "bin", *SYSTEM_PATH)


def site_variables(config: Config) -> dict[str, str]:
    """What `servers.environment` says, for everything of everybody."""
    return {str(name): str(value) for name, value in config.servers.environment.items()}


def theirs(config: Config, layout: Layout) -> dict[str, str]:
    """Variables of kernels, terminals and `env shell`."""
    # On root's sites Jupyter finds the kernels by itself (`services.machine_files`).
    path = {} if layout.system else {"JUPYTER_PATH": str(layout.jupyter_data)}
    return {**path, **site_variables(config)}


def variables(config: Config, layout: Layout) -> dict[str, str]:
    """Environment variables of every server, the same for everybody; nothing here is secret."""
    # People's settings of the Lab stay where Jupyter keeps them; its configuration does not: what somebody left there
    # years ago must not stop a server from starting (docs/decisions/0003).
    own = {
        "MANYLAB_JUPYTER_CONFIG_DIR": str(layout.jupyter_config),
        "MANYLAB_JUPYTER_PATH": str(layout.jupyter_data),
        "MANYLAB_DEFAULT_KERNEL": environments.kernel_name(config.env.default),
        "MANYLAB_DEFAULT_URL": str(config.servers.default_url),
        "MANYLAB_TRASH": "" if config.servers.trash is None else str(config.servers.trash),
        "MANYLAB_LANGUAGE": str(config.site.language),
    }
    # MANYLAB_...: the server's own, which nothing that it starts gets (lab.own).
    return {**theirs(config, layout), **own}
