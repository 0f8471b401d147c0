"""`manylab`: the entry point of the launcher, of the installed command and of the package."""

from __future__ import annotations

from manylab.cli import (
    bench_commands,
    bundle_commands,
    config_wiring,
    env_commands,
    env_files,
    env_generations,
    env_people,
    look_commands,
    service_commands,
    site_commands,
    test_command,
    top_commands,
    user_commands,
)
from manylab.cli.app import app

# Importing a group's module registers its commands.
GROUPS = (
    site_commands,
    user_commands,
    env_commands,
    env_people,
    env_generations,
    env_files,
    bundle_commands,
    config_wiring,
    service_commands,
    look_commands,
    top_commands,
    bench_commands,
    test_command,
)


def main() -> int:
    """Run the command line of this process. Returns the exit status (or ends the process with it)."""
    app(prog_name="manylab")
    return 0
