"""Which records the hub makes: those that somebody reads."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("jupyterhub")
from manylab.hub.app import ManylabHub


@pytest.fixture
def hub():
    """Makes hubs that only log, and puts the loggers of this process back."""
    names = ("ManylabHub", "tornado", "oauthlib", "tornado.application", "tornado.access", "tornado.general")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, dict(vars(one)), list(one.handlers)) for one in loggers]

    def make(**traits):
        app = ManylabHub(**traits)
        app.init_logging()
        return app

    yield make
    for one, attributes, handlers in before:
        vars(one).update(attributes)
        one.handlers = handlers
        one.manager._clear_cache()


def heard(app: ManylabHub, level: int) -> bool:
    return app.log.isEnabledFor(level) and logging.getLogger("tornado.application").isEnabledFor(level)


def test_what_no_handler_would_take_is_not_made(hub):
    app = hub(log_level=logging.INFO)
    assert not app.log.isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("tornado.application").isEnabledFor(logging.DEBUG)
    assert heard(app, logging.INFO)


def test_who_asks_for_more_gets_more(hub):
    assert heard(hub(log_level=logging.DEBUG), logging.DEBUG)


def test_a_handler_of_the_sites_own_hears_what_it_asks_for(hub):
    assert heard(hub(log_level=logging.INFO, extra_log_handlers=[logging.NullHandler(logging.DEBUG)]), logging.DEBUG)
