"""The system accounts that run the parts of a site, and the folders that they own. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.model.facts import Facts
from manylab.model.resources import Account, Directory, Group, Resource

HUB_ACCOUNT, HUB_GROUP = "manylab", "manylab-hub"
PROXY_ACCOUNT, PROXY_GROUP = "manylab-proxy", "manylab-proxy"
NURSERY_ACCOUNT, NURSERY_GROUP = "manylab-nursery", "manylab-nursery"
# Tries new environments out: it owns nothing, and nothing of the site can be read through it.
BUILD_ACCOUNT, BUILD_GROUP = "manylab-build", "manylab-build"

# What only this site uses, and goes with it; the site's own group says who may sign in and is the site's owner's.
OWN_ACCOUNTS = (HUB_ACCOUNT, PROXY_ACCOUNT, NURSERY_ACCOUNT, BUILD_ACCOUNT)
OWN_GROUPS = (HUB_GROUP, PROXY_GROUP, NURSERY_GROUP, BUILD_GROUP)


def owners(facts: Facts) -> tuple[tuple[str, str], tuple[str, str]]:
    """(account, group) of the hub and of the proxy; ("", "") both for a personal site, where all is that person's."""
    if facts.system:
        return (HUB_ACCOUNT, HUB_GROUP), (PROXY_ACCOUNT, PROXY_GROUP)
    return ("", ""), ("", "")


def accounts(config: Config, facts: Facts) -> Iterator[Resource]:
    """Groups and accounts. The hub is in the proxy's group, to reach people's servers."""
    if not facts.system:
        return
    yield Group(HUB_GROUP)
    yield Group(PROXY_GROUP)
    yield Group(NURSERY_GROUP)
    yield Group(BUILD_GROUP)
    yield Group(str(config.people.group), system=False)
    yield Account(HUB_ACCOUNT, HUB_GROUP, (PROXY_GROUP,))
    yield Account(PROXY_ACCOUNT, PROXY_GROUP)
    yield Account(NURSERY_ACCOUNT, NURSERY_GROUP)
    yield Account(BUILD_ACCOUNT, BUILD_GROUP)


def run_directories(facts: Facts, layout: Layout) -> tuple[Directory, ...]:
    """Folders under /run, which are gone after a reboot: whatever starts the site makes them first."""
    (hub, hub_group), (proxy, _) = owners(facts)
    root = "root" if facts.system else ""
    return (
        Directory(layout.run, 0o755, root, root),
        Directory(layout.hub_run, 0o755, hub, hub_group),
        # setgid: the proxy's API socket gets the hub's group, and nobody else can reach it.
        Directory(layout.proxy_run, 0o2750, proxy, hub_group),
        Directory(layout.warden_run, 0o711, root, root),
        Directory(layout.registry, 0o700, root, root),
        Directory(layout.nursery_run, 0o755, root, root),
        Directory(layout.servers_run, 0o711, root, root),
        Directory(layout.supervisor_run, 0o755, root, root),
    )


def directories(facts: Facts, layout: Layout) -> Iterator[Resource]:
    """Every folder that is not part of an environment."""
    (hub, hub_group), (proxy, proxy_group) = owners(facts)
    root = "root" if facts.system else ""
    yield Directory(layout.config, 0o755, root, root)
    yield Directory(layout.program, 0o755, root, root)
    yield Directory(layout.envs, 0o755, root, root)
    # uv leaves lock files in it that anybody could write.
    yield Directory(layout.cache, 0o700, root, root)
    yield Directory(layout.jupyter_config, 0o755, root, root)
    yield Directory(layout.jupyter_data / "kernels", 0o755, root, root)
    yield Directory(layout.state, 0o755, root, root)
    yield Directory(layout.generations, 0o700, root, root)
    yield Directory(layout.env_locks, 0o755, root, root)
    # The hub reads hub.json here through its group; warden.json and services.json are root's.
    yield Directory(layout.rendered, 0o750, root, hub_group)
    yield Directory(layout.hub_state, 0o700, hub, hub_group, contents=facts.system)
    yield Directory(layout.proxy_state, 0o700, proxy, proxy_group, contents=facts.system)
    if facts.system:
        # Everybody's own /tmp: a nursery's child goes through it before it becomes the person, nobody else can.
        yield Directory(layout.private, 0o710, root, NURSERY_GROUP)
    yield Directory(layout.logs, 0o750, root, root)
    yield from run_directories(facts, layout)
