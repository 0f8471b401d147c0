"""After a change: tell what runs about it, and look whether the site answers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from manylab.apply import phases
from manylab.apply.site import Site
from manylab.base.errors import Unhealthy
from manylab.model.environments import SERVER
from manylab.model.hub import local_url
from manylab.model.resources import Environment, File, Service
from manylab.plan.diff import Change
from manylab.system import nurseries, supervisor
from manylab.system.http import status_of
from manylab.system.observe import Machine

# A hub with many people and a slow database takes its time to start, seconds.
SETTLED_WITHIN = 90.0


def settle(site: Site, machine: Machine, changes: Sequence[Change], ran_before: int | None) -> None:
    """Under the supervisor: have it restart the parts whose inputs changed.

    systemd's units are resources and are settled already.
    """
    if machine.services is not None and any(
        change.key.startswith(f"file {site.layout.systemd_units}") for change in changes
    ):
        machine.services.daemon_reload()
    if changes and ran_before is not None:
        machine.say(phases.RESTART)
        definition = next(
            item for item in site.resources if isinstance(item, File) and item.path == site.layout.services_json
        )
        if not supervisor.reload(
            site.layout.supervisor_run, json.loads(definition.content)["services"], timeout=SETTLED_WITHIN
        ):
            raise Unhealthy("the supervisor did not get everything running again", hint="see 'manylab logs'")


def warm_servers(site: Site) -> str:
    """The interpreter of the nursery that people's servers are forked from now; "" where there is none."""
    return nurseries.interpreter(site.layout.nursery_run / f"{SERVER}.sock")


def wait_for_nursery(site: Site, seconds: float) -> None:
    """Wait until servers are forked from the server environment that the site has now.

    Raises Unhealthy when they are not within so many seconds: everybody's start would be cold, and nobody would know.
    """
    server = next(item for item in site.resources if isinstance(item, Environment) and item.name == SERVER)
    wanted = str(server.path / "bin/python")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if warm_servers(site) == wanted:
            return
        time.sleep(0.2)
    raise Unhealthy(
        f"servers do not start warm from the new server environment ({server.path.name})", hint="see 'manylab logs'"
    )


def should_serve(site: Site, machine: Machine) -> bool:
    """Whether the site is meant to answer now: it is a running service, or somebody has it in a terminal."""
    if any(isinstance(item, Service) and item.running for item in site.resources):
        return True
    return supervisor.guardian(site.layout.supervisor_run) is not None


def wait(site: Site, seconds: float) -> None:
    """Wait until the sign-in page's health check answers through the proxy.

    Raises Unhealthy when it does not within so many seconds.
    """
    url = f"{local_url(site.config)}hub/health"
    deadline = time.monotonic() + seconds
    status = 0
    while time.monotonic() < deadline:
        status = status_of(url)
        if status == 200:
            return
        time.sleep(0.2)
    raise Unhealthy(
        f"{url} does not answer" if status == 0 else f"{url} answers with status {status}", hint="see 'manylab logs'"
    )
