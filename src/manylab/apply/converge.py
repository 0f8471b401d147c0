"""Compare with the machine, change what differs, look again.

One resource at a time, so that nothing is decided on stale sight; environments beside each other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from manylab.apply import made, phases
from manylab.base.errors import CommandFailed, NotConverged, Unhealthy
from manylab.model.resources import Account, Environment, File, Group, KernelLinks, Link, Resource, Service
from manylab.plan.diff import Change, diff
from manylab.system.files import observe_file, remove_path
from manylab.system.observe import Machine, act, build_all, observe


def plan(resources: Iterable[Resource], machine: Machine, leftovers: Sequence[str] = ()) -> list[Change]:
    """What `apply` would change now. Changes nothing."""
    changes = [change for want in resources if (change := diff(want, observe(want, machine)))]
    return changes + [Change(f"file {path}", "remove") for path in leftovers if observe_file(Path(path)) is not None]


def converge(resources: Iterable[Resource], machine: Machine, leftovers: Sequence[str] = ()) -> list[Change]:
    """Make the machine as the resources say; returns what was changed.

    Raises Unhealthy when a service does not run, and NotConverged, naming the resource, when a change was made and does
    not show; everything before it stays changed, and running it again goes on from there.
    """
    done: list[Change] = []
    wanted = list(resources)
    phase, after_environments = 0, False
    for want in wanted:
        after_environments = after_environments or isinstance(want, Environment)
        if isinstance(want, KernelLinks):  # a link to a kernel that goes would lead nowhere
            gone = [text for text in leftovers if Path(text).is_relative_to(want.folder)]
            done += _remove_leftovers(gone, machine)
        have = observe(want, machine)
        change = diff(want, have)
        if change is None:
            continue
        if isinstance(want, Environment):
            # All that are missing, beside each other; there is nothing to be done when the others' turn comes.
            done += _environments([one for one in wanted if isinstance(one, Environment)], machine)
            phase = 3
            continue
        number, line = phases.of(want, (), after_environments)
        if number > phase:
            machine.say(line)
            phase = number
        machine.say(f"{change.action} {change.key}")
        if have is None and isinstance(want, Account | Group):
            made.remember(machine.layout, want.key)
        try:
            act(want, have, machine)
        except CommandFailed as error:
            if isinstance(want, Service):
                raise Unhealthy(f"{want.key} does not run: {error.message}", hint="see 'manylab logs'") from error
            raise
        _look_again(want, machine)
        done.append(change)
    return done + _remove_leftovers(leftovers, machine)


def _remove_leftovers(leftovers: Iterable[str], machine: Machine) -> list[Change]:
    """Remove those that are there."""
    done = []
    for path in map(Path, leftovers):
        if observe_file(path) is not None:
            machine.say(f"remove {path}")
            remove_path(path)
            with contextlib.suppress(OSError):  # a kernel's folder goes with its last file
                if path.is_relative_to(machine.layout.jupyter_data / "kernels"):
                    path.parent.rmdir()
            done.append(Change(f"file {path}", "remove"))
    return done


def _environments(wanted: Sequence[Environment], machine: Machine) -> list[Change]:
    changes = {want.key: diff(want, observe(want, machine)) for want in wanted}
    missing = [want for want in wanted if changes[want.key]]
    machine.say(phases.of(missing[0], missing, True)[1])
    began = time.monotonic()
    for change in filter(None, changes.values()):
        machine.say(f"{change.action} {change.key}")
    if len(missing) == 1:
        act(missing[0], None, machine)
    else:
        build_all(missing, machine)
    for want in missing:
        _look_again(want, machine)
    machine.say(phases.built(time.monotonic() - began))
    return [change for change in changes.values() if change]


def _look_again(want: Resource, machine: Machine) -> None:
    left = diff(want, observe(want, machine))
    if left is not None and isinstance(want, Service):
        raise Unhealthy(f"{want.key}: {'; '.join(left.why)}", hint="see 'manylab logs'")
    if left is not None:
        raise NotConverged(
            f"{want.key} was changed and still is not as it should be: {'; '.join(left.why) or 'it is not there'}",
            hint="see whether something else changes it back, then run 'manylab apply' again",
        )


def leftovers(before: Sequence[str], resources: Iterable[Resource]) -> list[str]:
    """Files and links that the generation before made and this one no longer has."""
    now = {str(item.path) for item in resources if isinstance(item, File | Link)}
    return [path for path in before if path not in now]
