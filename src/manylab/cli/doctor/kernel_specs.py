"""Kernel specs that cannot start."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from manylab.cli.doctor.paths import listed

# A kernel.json is a few hundred bytes.
_LARGEST_SPEC = 64 * 1024


def spec_program(text: str) -> str:
    """The program that a kernel.json starts; "" when it cannot be told. Pure."""
    try:
        argv = json.loads(text)["argv"]
        return str(argv[0])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""


def judge_spec(program: str, runs: bool) -> str:
    """What is wrong with a kernel spec, "" when nothing.

    A program without a folder is looked up on PATH: anything may be. Pure.
    """
    if not program:
        return "cannot be understood"
    return "" if runs or not program.startswith("/") else f"starts {program!r:.200}, which is not there"


def broken_specs(kernels: Path) -> Iterator[tuple[Path, str]]:
    """Kernel specs in a folder that cannot start, and why. Their owner may be anybody: links are not followed."""
    for folder in listed(kernels):
        path = folder / "kernel.json"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # without the file it is no kernel
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            program = spec_program(file.read(_LARGEST_SPEC).decode("utf-8", "replace")) if regular else ""
        if wrong := judge_spec(program, os.access(program, os.X_OK) if program else False):
            yield path, wrong
