"""A warden for tests/security, as root; see support/warden_site.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.warden_site import Site


@pytest.fixture(scope="module")
def warm() -> bool:
    """Whether a nursery forks the servers. A file that wants that has a fixture of this name."""
    return False


@pytest.fixture(scope="module")
def site(warm: bool) -> Iterator[Site]:
    """With a warden that runs; one for each file."""
    made = Site(warm=warm)
    made.up()
    yield made
    made.close()
