"""Only the modules of the command that was typed are loaded, and none is forgotten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manylab.cli import main, reference
from manylab.cli.app import app

SOURCE = Path(__file__).parents[2] / "src"


def loaded_after(*words: str) -> set[str]:
    """Modules of the command line that are there after it was loaded for these words, in a process of its own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from manylab.cli import main; main.load(sys.argv[2:])"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(SOURCE), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.removeprefix("manylab.cli.") for name in done.stdout.split() if name.startswith("manylab.cli.")}


def test_every_command_is_in_the_table_under_the_module_that_has_it():
    main.load()
    found = {(one.callback.__module__, one.name) for one in app.registered_commands}
    for group in app.registered_groups:
        for one in group.typer_instance.registered_commands:
            name = f"{group.name} {one.name}" if group.name == "env" else group.name
            found.add((one.callback.__module__, name))
    table = {(f"manylab.cli.{module}", word) for module, words in main.GROUPS.items() for word in words}
    assert table == found


# What changes nothing of a site, and need not say which one it is about.
LOOKS = {
    *("plan", "history", "status", "doctor", "logs", "top", "bench", "test", "user list"),
    *("env list", "env show", "env history", "env audit", "env export", "env bundle", "env copy", "env shell"),
    *("config show", "config get", "config check", "config schema"),
    *("trash list", "trash restore", "trash empty"),
}


def test_what_changes_a_site_says_which():
    silent = {entry.name for entry in reference.entries() if not vars(entry.parser.callback).get("changes")}
    assert silent == LOOKS


def test_an_apply_does_not_load_the_bench_and_the_doctor():
    loaded = loaded_after("apply", "--json")
    assert "site_commands" in loaded
    assert not {"bench_commands", "look_commands", "doctor", "bench", "env_commands"} & loaded


@pytest.mark.parametrize("words", [(), ("--help",), ("aply",), ("env",), ("env", "--help"), ("env", "ad", "default")])
def test_help_and_what_is_mistyped_know_all_commands(words):
    assert set(main.GROUPS) <= loaded_after(*words)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("status", "status"),
        ("up --own -v", "--own up -v"),
        ("--own config get http.port", "--own config get http.port"),
        ("env shell course -- pytest --own", "env shell course -- pytest --own"),
        ("env shell course --own -- pytest", "--own env shell course -- pytest"),
    ],
)
def test_own_may_stand_anywhere(typed, read):
    assert main.own_first(typed.split()) == read.split()
