"""The command line of nearly every kernel, `-f FILE`: what argparse would make of it, without argparse."""

from __future__ import annotations

import argparse
import importlib

import pytest
from traitlets.config import Config

from manylab.warm import dash_f


@pytest.fixture
def kernel_app():
    application = importlib.import_module("ipykernel.kernelapp").IPKernelApp
    known = dash_f.Known()
    known.learn()
    yield application, known
    if "_create_loader" in vars(application):
        del application._create_loader


def heard(application, argv):
    """What an application took from a command line."""
    app = application()
    app.parse_command_line(argv)
    config = {name: {key: (type(value), value) for key, value in part.items()} for name, part in app.config.items()}
    said = {name: {key: (type(value), value) for key, value in part.items()} for name, part in app.cli_config.items()}
    return config, said, app.argv, app.extra_args, app.connection_file, type(app.connection_file)


def test_the_usual_command_line_says_what_argparse_hears_and_is_not_given_to_it(kernel_app, monkeypatch):
    application, known = kernel_app
    argv = ["-f", "/run/manylab/servers/alice/_/jupyter/kernel-1.json"]
    usual = heard(application, argv)
    known.use()
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", lambda *_: pytest.fail("argparse was asked"))
    assert heard(application, argv) == usual
    assert "_create_loader" not in vars(application)


@pytest.mark.parametrize(
    "argv",
    [
        ["-f", "kernel.json"],
        ["-f", "/home/a b/~/'kernel'.json"],
        ["-f", "/kernel.json", "--debug"],
        ["-f", "/kernel.json", "--IPKernelApp.extensions=['a']"],
        ["--Session.username=bob", "-f=/kernel.json"],
        ["-f", "/kernel.json", "rest"],
        [],
    ],
)
def test_any_other_command_line_is_read_by_argparse(kernel_app, argv):
    application, known = kernel_app
    usual = heard(application, argv)
    known.use()
    assert heard(application, argv) == usual
    assert "_create_loader" not in vars(application)


def other_answer(*_, **__):
    said = Config({"IPKernelApp": {"connection_file": "/run/example/kernel-0.json", "more": 1}})
    return dash_f.Said(said)


def other_way(_app):
    raise AttributeError


@pytest.mark.parametrize("other", [other_answer, other_way])
def test_a_version_with_another_answer_is_asked_as_ever(kernel_app, monkeypatch, other):
    application, _ = kernel_app
    known = dash_f.Known()
    with monkeypatch.context() as patched:
        patched.setattr(application, "_create_loader" if other is other_answer else "flatten_flags", other)
        known.learn()
    known.use()
    assert "_create_loader" not in vars(application)
