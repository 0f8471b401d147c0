"""Ruff and mypy have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def said_by(*argv: str) -> str:
    """What a checker prints when it does not agree; nothing when it does."""
    done = subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.stdout if done.returncode else ""


def test_ruff_finds_nothing():
    assert said_by("ruff", "check", "--output-format", "concise", ".") == ""


@pytest.mark.timeout(300)
def test_mypy_finds_nothing_in_strict_mode():
    assert said_by("mypy", "--strict") == ""


def test_shellcheck_finds_nothing_in_the_launcher(pytestconfig):
    for script in ("manylab", ".ci/run"):
        done = subprocess.run(
            ["shellcheck", "-S", "warning", CHECKOUT / script], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""
