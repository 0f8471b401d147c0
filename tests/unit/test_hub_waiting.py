"""What servers answer when the hub looks for them: theirs to choose, and nothing that may end the hub's start."""

from __future__ import annotations

import asyncio
import logging
import types

import pytest
from jupyterhub import _version, utils

from manylab.hub import waiting

log = logging.getLogger("test")


@pytest.fixture
def module():
    """As jupyterhub.user, with what it does with an answer."""

    class User:
        def __init__(self, answer):
            self.answer = answer

        async def _wait_up(self, spawner):
            if isinstance(self.answer, Exception):
                raise self.answer
            found._check_version("6.1.1", self.answer, log)
            return spawner

    found = types.SimpleNamespace(_check_version=_version._check_version, User=User)
    waiting.trust_nobody(found)
    waiting.trust_nobody(found)
    return found


def look(module, answer, *, starting):
    spawner = types.SimpleNamespace(_check_pending=starting, _log_name="eve")
    return asyncio.run(module.User(answer)._wait_up(spawner))


@pytest.mark.parametrize("version", ["not-a-version", "", "6.1.1 ", "9" * 5000, None, "6.1.1"])
def test_no_version_that_a_server_says_it_has_ends_the_hubs_start(module, version):
    assert look(module, version, starting=True)


def test_jupyterhub_itself_would_have_been_ended_by_it():
    with pytest.raises(Exception, match="not-a-version"):
        _version._check_version("6.1.1", "not-a-version", log)


def test_an_answer_that_nobody_expected_is_none_in_time_while_the_hub_starts(module):
    with pytest.raises(utils.AnyTimeoutError, match="eve answers with ValueError"):
        look(module, ValueError("odd"), starting=True)
    with pytest.raises(utils.AnyTimeoutError):
        look(module, TimeoutError(), starting=True)


def test_later_it_is_what_it_is(module):
    with pytest.raises(ValueError, match="odd"):
        look(module, ValueError("odd"), starting=False)
