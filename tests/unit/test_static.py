"""Ruff, mypy and shellcheck have nothing to say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def must_agree(*argv: str) -> None:
    """Fails with all that the checker prints, and nothing else, when it does not agree."""
    done = subprocess.run(
        argv, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


def test_ruff_finds_nothing():
    must_agree(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", ".")


def test_the_code_is_formatted_as_ruff_does_it():
    must_agree(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.timeout(300)
def test_mypy_finds_nothing_in_strict_mode():
    must_agree(sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_scripts():
    must_agree("shellcheck", "-S", "warning", "manylab", ".ci/run")
