"""`manylab`: the entry point of the launcher, of the installed command and of the package."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from manylab.cli import completion
from manylab.cli.context import find_site

# Importing a group's module registers its commands. By the first words of these: importing all of them takes longer
# than an `apply` that has nothing to do.
GROUPS = {
    "site_commands": ("up", "plan", "apply", "history", "rollback"),
    "user_commands": ("user",),
    "env_commands": ("env show", "env create", "env add", "env remove", "env build"),
    "env_people": ("env list", "env copy", "env shell"),
    "env_generations": ("env history", "env rollback", "env gc", "env audit"),
    "env_files": ("env import", "env export"),
    "bundle_commands": ("env bundle",),
    "config_wiring": ("config",),
    "service_commands": ("install", "uninstall", "start", "stop", "restart", "enable", "disable"),
    "look_commands": ("status", "doctor", "logs"),
    "top_commands": ("top",),
    "trash_commands": ("trash",),
    "bench_commands": ("bench",),
    "test_command": ("test",),
}


def load(words: Sequence[str] = ()) -> None:
    """Register the commands that a command line may mean; all of them where its first words are none of theirs."""
    typed = {" ".join(words[:1]), " ".join(words[:2])}
    wanted = [module for module, first in GROUPS.items() if typed & {*first}]
    for module in wanted or GROUPS:
        importlib.import_module(f"manylab.cli.{module}")


def main() -> int:
    """Run the command line of this process. Returns the exit status (or ends the process with it)."""
    if os.environ.get(completion.VARIABLE, "").startswith("complete_"):
        return completion.main(os.environ, find_site(os.environ))
    words = own_first(sys.argv[1:])
    load([word for word in words if word != "--own"])
    importlib.import_module("manylab.cli.app").app(words, prog_name="manylab")
    return 0


def own_first(words: Sequence[str]) -> list[str]:
    """`--own` belongs to the program, and may stand anywhere before `--`."""
    mine = list(words[: words.index("--")] if "--" in words else words)
    rest = [word for word in mine if word != "--own"]
    return ["--own"] * (rest != mine) + rest + list(words[len(mine) :])
