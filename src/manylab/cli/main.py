"""`manylab`: the entry point of the launcher, of the installed command and of the package."""

from __future__ import annotations

from manylab.cli import site_commands
from manylab.cli.app import app

# Importing a group's module registers its commands.
GROUPS = (site_commands,)


def main() -> int:
    """Run the command line of this process. Returns the exit status (or ends the process with it)."""
    app(prog_name="manylab")
    return 0
