"""One function from any resource to what is there of it now, and one that makes it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manylab.base.layout import Layout
from manylab.model.accounts import BUILD_ACCOUNT
from manylab.model.resources import (
    Account,
    Copy,
    Directory,
    Environment,
    File,
    Group,
    KernelLinks,
    Kernels,
    Line,
    Link,
    Resource,
    Secret,
    Service,
)
from manylab.system import accounts, environments, files
from manylab.system.environments import Say, kernel_links, kernels
from manylab.system.services.base import ServiceManager


@dataclass(frozen=True)
class Machine:
    """What observing and acting need besides the resource itself.

    services: None where the site is not installed as a service. network: variables for installers. say: takes lines
    of progress. channels: mirrors of conda's channels, by name or address.
    """

    layout: Layout
    services: ServiceManager | None
    network: dict[str, str]
    say: Say
    channels: Mapping[str, str] = field(default_factory=dict)


def observe(want: Resource, machine: Machine) -> Resource | None:
    """What is there of this resource, in the same type; None when it is not there."""
    if isinstance(want, Directory):
        return files.observe_directory(want)
    if isinstance(want, Copy):
        return files.observe_copy(want)
    if isinstance(want, File | Link):
        return files.observe_file(want.path)
    if isinstance(want, Line):
        return files.observe_line(want)
    if isinstance(want, Secret):
        return files.observe_secret(want)
    if isinstance(want, Group):
        return accounts.observe_group(want)
    if isinstance(want, Account):
        return accounts.observe_account(want)
    if isinstance(want, Environment):
        return environments.observe_environment(want)
    if isinstance(want, Kernels):
        return kernels.observe(want)
    if isinstance(want, KernelLinks):
        return kernel_links.observe(want)
    assert machine.services is not None
    return observe_service(want, machine.services)


def observe_service(want: Service, manager: ServiceManager) -> Service | None:
    """Whether the service is enabled and running, and the revision that the running one was started with."""
    running = manager.is_active(want.name)
    return Service(want.name, manager.is_enabled(want.name), running, manager.revision(want.name) if running else "")


def act(want: Resource, have: Resource | None, machine: Machine) -> None:
    """Make it so. Raises what the changed thing raises; never leaves a half of it."""
    if isinstance(want, File):
        _clear(want.path, have, File)
        if isinstance(have, File) and (have.content == want.content or want.volatile):
            files.set_ownership(want.path, want.mode, want.owner, want.group)
        else:
            files.write_file(want.path, want.content, want.mode, want.owner, want.group)
    elif isinstance(want, Copy):
        _clear(want.path, have, Link)
        files.make_copy(want)
    elif isinstance(want, Link):
        _clear(want.path, have, Link)
        files.make_link(want)
    elif isinstance(want, Directory):
        if have is not None and not isinstance(have, Directory):
            files.remove_path(want.path)
        files.make_directory(want)
    elif isinstance(want, Line):
        files.add_line(want)
    elif isinstance(want, Secret):
        files.write_secret(want)
    elif isinstance(want, Group):
        accounts.make_group(want)
    elif isinstance(want, Account):
        accounts.make_account(want)
    elif isinstance(want, Environment):
        build(want, machine)
    elif isinstance(want, Kernels):
        kernels.write(want)
    elif isinstance(want, KernelLinks):
        kernel_links.write(want)
    else:
        assert machine.services is not None
        machine.services.converge(want)


def build(want: Environment, machine: Machine, stages: environments.Stages | None = None) -> None:
    """Build one environment; stages: beside others."""
    environments.build(
        want,
        cache=machine.layout.cache,
        network=machine.network,
        say=machine.say if stages is None else lambda line: machine.say(f"{want.name}: {line}"),
        builder=BUILD_ACCOUNT,
        channels=machine.channels,
        built=machine.layout.built_wheels,
        stages=stages,
    )


def build_all(wants: Sequence[Environment], machine: Machine) -> None:
    """Build several, at the same time as far as that helps. Raises what the first raises that fails."""
    environments.build_all(wants, lambda want, stages: build(want, machine, stages))


def _clear(path: Path, have: Resource | None, kind: type) -> None:
    """An empty folder in the way of a file or link goes; a folder with something in it is not ours to delete."""
    if isinstance(have, Directory) and not issubclass(kind, Directory):
        path.rmdir()
