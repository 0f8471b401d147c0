"""Fixtures for tests on real throwaway machines. What they are made of is in harness/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import INITS, SUITES, Init, Machine, missing, root_for, sweep


@pytest.fixture(scope="session", autouse=True)
def requires_root() -> None:
    """Skip all of this, saying why, where machines cannot be made; clean up after runs that were killed."""
    if reason := missing():
        pytest.skip(reason)
    sweep.sweep()


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder of the project that is being tested, for Machine.put_tree."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """Each Debian in turn."""
    return str(request.param)


@pytest.fixture(params=INITS)
def init(request: pytest.FixtureRequest) -> Init:
    """Each kind of PID 1 in turn: none, sysv, systemd."""
    kind: Init = request.param
    return kind


@pytest.fixture
def machine(suite: str, init: Init) -> Iterator[Machine]:
    """A fresh machine of every Debian with every init. Parametrize `suite` or `init` to have fewer."""
    with Machine(root_for(suite, init)) as fresh:
        yield fresh


@pytest.fixture
def bookworm() -> Iterator[Machine]:
    """A fresh Debian 12 without any init system, as in a container or WSL."""
    with Machine(root_for("bookworm", "none")) as fresh:
        yield fresh


@pytest.fixture
def trixie() -> Iterator[Machine]:
    """A fresh Debian 13 without any init system, as in a container or WSL."""
    with Machine(root_for("trixie", "none")) as fresh:
        yield fresh


@pytest.fixture
def systemd(suite: str) -> Iterator[Machine]:
    """A fresh machine that systemd booted, of each Debian."""
    with Machine(root_for(suite, "systemd")) as fresh:
        yield fresh


@pytest.fixture
def sysv(suite: str) -> Iterator[Machine]:
    """A fresh machine that sysvinit booted, of each Debian."""
    with Machine(root_for(suite, "sysv")) as fresh:
        yield fresh
