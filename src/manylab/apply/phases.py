"""The parts of a change that people are told of, one line each; everything else is detail. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from manylab.base.progress import phase
from manylab.model.locked import versions
from manylab.model.resources import Environment, Resource, Service

# Packages that are downloaded, installed, compiled and tried in a minute on two cores with a fast connection.
_A_MINUTE: Final = 200


def solving(names: Sequence[str]) -> str:
    """Which versions of packages fit together is found out."""
    return phase(1, f"solving the packages of {', '.join(names)}")


def built(seconds: float) -> str:
    """The environments are complete."""
    return phase(3, f"environments are ready, after {seconds:.0f} s")


RESTART: Final = phase(5, "restarting what the change concerns")
ANSWERS: Final = phase(6, "waiting until the site answers")


def of(want: Resource, missing: Sequence[Environment], after_environments: bool) -> tuple[int, str]:
    """Number and line of the phase in which a resource is made. missing: environments that have to be built."""
    if isinstance(want, Environment):
        packages = sum(len(versions(one.lock, one.python_minor)) for one in missing)
        minutes = max(1, round(packages / _A_MINUTE))
        names = ", ".join(one.name for one in missing)
        long = f"about {minutes} min, less with packages that are here already"
        return 3, phase(3, f"environments {names}: {packages} packages, {long}")
    if isinstance(want, Service):
        return 5, phase(5, "services")
    return (4, phase(4, "files")) if after_environments else (2, phase(2, "accounts and folders"))
