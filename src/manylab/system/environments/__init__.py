"""Environments of packages: solved, built beside those in use, tried, recorded, and removed when nobody needs them."""

from manylab.system.environments.collect import sweep
from manylab.system.environments.installers import Say, explain, solve, uv_program
from manylab.system.environments.making import build
from manylab.system.environments.record import MARKER, observe_environment
from manylab.system.environments.share import open_to_all
from manylab.system.environments.together import Stages, build_all

__all__ = [
    "MARKER",
    "Say",
    "Stages",
    "build",
    "build_all",
    "explain",
    "observe_environment",
    "open_to_all",
    "solve",
    "sweep",
    "uv_program",
]
