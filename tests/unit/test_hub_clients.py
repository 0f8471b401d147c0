"""What a person's server shows the hub when somebody signs in to it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("jupyterhub")
from jupyterhub import utils

from manylab.hub import clients


@pytest.fixture
def provider():
    module = SimpleNamespace(hash_token=utils.hash_token)
    clients.hash_generated_once(module)
    clients.hash_generated_once(module)
    return module


def rounds(kept: str) -> int:
    return int(kept.split(":")[1])


def test_a_token_that_the_hub_has_made_is_hashed_once_and_still_opens(provider):
    token = utils.new_token()
    kept = provider.hash_token(token)
    assert rounds(kept) == 1
    assert utils.compare_token(kept, token)
    assert not utils.compare_token(kept, utils.new_token())


@pytest.mark.parametrize(
    "secret", ["tiger", "0" * 32, "a1" * 16, "A" * 32, "2B6AD2AA52F84B5AB5B96091B36C3191", "x" * 64]
)
def test_a_secret_that_somebody_may_have_thought_of_is_hashed_as_ever(provider, secret):
    kept = provider.hash_token(secret)
    assert rounds(kept) == 16384
    assert utils.compare_token(kept, secret)
