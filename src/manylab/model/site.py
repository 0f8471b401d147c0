"""The table of contents of the whole product: Config, facts and locks -> everything that should be on the
machine. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manylab.base.layout import Layout
from manylab.config import example
from manylab.config.schema import Config
from manylab.model import accounts, environments, hub, jupyter, services
from manylab.model.facts import Facts
from manylab.model.resources import Environment, File, Resource, Secret


def build(config: Config, facts: Facts, layout: Layout, built: Sequence[Environment]) -> tuple[Resource, ...]:
    """Every resource of the site, in the order in which they are made.

    built: the environments whose locks are known. While one is missing (it has yet to be solved) what depends on it
    is left out.
    Nothing that is in use changes before all environments stand complete beside it.
    """
    by_name = {environment.name: environment for environment in built}
    resources: list[Resource] = [*accounts.accounts(config, facts), *accounts.directories(facts, layout)]
    resources.append(File(layout.config_file, example.example_toml(), 0o600, volatile=True))
    resources += built
    if not {environments.HUB, environments.SERVER, environments.PROXY, environments.DEFAULT} <= by_name.keys():
        return tuple(resources)
    resources += secrets(facts, layout)
    resources += jupyter.resources(config, built, layout)
    resources += hub.resources(config, facts, layout, by_name)
    resources += services.machine_files(config, facts, layout)
    resources += services.definitions(config, facts, layout, by_name)
    resources += [environments.current(environment, layout) for environment in built]
    resources += services.installed(config, facts, layout, by_name)
    return tuple(resources)


def secrets(facts: Facts, layout: Layout) -> Iterator[Resource]:
    """Random values; each is made once. Each process has a copy of its own that nobody else can read."""
    (hub_account, hub_group), (proxy_account, proxy_group) = accounts.owners(facts)
    yield Secret(
        "proxy token",
        (
            (layout.hub_proxy_token, hub_account, hub_group, "{}\n"),
            (layout.proxy_token_env, proxy_account, proxy_group, "CONFIGPROXY_AUTH_TOKEN={}\n"),
        ),
    )
    yield Secret("cookie secret", ((layout.cookie_secret, hub_account, hub_group, "{}\n"),))
