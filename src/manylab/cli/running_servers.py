"""Running servers that keep old values: what `plan` and `apply` say of them, and `restart --servers`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from manylab.apply import in_force
from manylab.apply.site import Site
from manylab.base.errors import NotFound
from manylab.cli.result import Progress, Result, plural
from manylab.plan.kept import Kept, as_text
from manylab.system import servers


def told(site: Site) -> Result:
    """Who keeps what: for the end of `plan`, and of every command that applies."""
    kept, kernels = in_force.kept(site), in_force.kernels(site)
    data = {"servers": [one.as_data() for one in kept], "kernels": kernels}
    lines = as_text(kept)
    for name, people in kernels.items():
        who = ", ".join(f"{person} ({count})" for person, count in people.items())
        lines.append(f"Kernels that keep an earlier generation of {name} until they are restarted: {who}")
    return Result(data, "\n".join(lines))


def offer(site: Site, *, wanted: bool, as_json: bool) -> Result:
    """After a change: restart the servers that keep old values, if that is wanted. On a terminal it is asked where the
    address has changed.
    """
    kept = in_force.kept(site)
    if not wanted and not as_json and sys.stdin.isatty() and sys.stderr.isatty() and any(one.moved for one in kept):
        print("\n".join(as_text(kept)), file=sys.stderr)
        if not typer.confirm("Restart them now?", default=False, err=True):
            return Result(told(site).data, "Not restarted.")
        wanted = True
    return _restarted(site, kept) if wanted and kept else told(site)


def restart(site: Site, names: Sequence[str], *, yes: bool, as_json: bool) -> Result:
    """Restart the servers of these names ("bob": all of bob's; "bob/exp"); without names, those that keep old values.

    Raises NotFound for a name of which no server runs.
    """
    if names:
        running = [Kept(one["user"], one["server"], (), False) for one in servers.running(site.layout.warden_socket)]
        if unknown := [name for name in names if not any(name in (one.user, one.name) for one in running)]:
            raise NotFound(f"no server of {', '.join(unknown)} runs", hint="'manylab status' lists the running servers")
        which = [one for one in running if one.user in names or one.name in names]
    else:
        which = in_force.kept(site)
    if not which:
        return Result({"restarted": []}, "No running server keeps an old value.")
    if not yes and not as_json and sys.stdin.isatty():
        said = ", ".join(one.name for one in which)
        typer.confirm(f"Restart {said}? It ends all kernels and terminals of these servers.", abort=True, err=True)
    return _restarted(site, which)


def _restarted(site: Site, which: Sequence[Kept]) -> Result:
    with Progress() as progress:
        progress.say(f"restart {', '.join(one.name for one in which)}")
        in_force.restart(site, which)
    names = [one.name for one in which]
    said = f"Restarted {plural(len(names), 'server')}: {', '.join(names)}."
    return Result({**told(site).data, "restarted": names}, said)
