"""What TAB offers: commands, options, settings, environments, people; without importing the parser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from manylab.base.layout import system_layout
from manylab.cli import completion

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def site(tmp_path):
    """A site with two environments, whose group is the one of this process."""
    layout = system_layout(tmp_path)
    for name in ("default", "course"):
        layout.env(name).mkdir(parents=True)
        layout.env_current(name).symlink_to("1")
    layout.env("half-built").mkdir()
    layout.state.mkdir(parents=True)
    layout.made_json.write_text(json.dumps(["group manylab-hub", "group people", "account manylab"]))
    return layout


def offered(line: str, layout) -> set[str]:
    *words, begun = line.split(" ")
    return {word for word, _ in completion.offered(words, layout) if word.startswith(begun)}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("unin", {"uninstall"}),
        ("--own stat", {"status"}),
        ("env rem", {"remove"}),
        ("apply --js", {"--json"}),
        ("config set http.p", {"http.port", "http.public_url"}),
        ("config get envs.course.pac", {"envs.course.packages"}),
        ("config set --json http.port ", set()),
        ("env add c", {"course"}),
        ("env build --wait 5 d", {"default"}),
        ("env shell d", {"default"}),
        ("logs w", {"warden"}),
        ("logs -f w", {"warden"}),
        ("top --sort m", {"memory"}),
        ("doctor --only disk", {"disk-full"}),
        ("nonsense x", set()),
    ],
)
def test_what_may_come_next_is_offered(site, line, found):
    said = offered(line, site)
    assert {word for word in said if not word.startswith("-")} | {w for w in said if found and w in found} == found


def test_people_are_the_members_of_the_groups_that_were_made(site, monkeypatch):
    class Group:
        gr_mem = ("alice", "bob")

    groups = {"people": Group}
    monkeypatch.setattr(completion.grp, "getgrnam", groups.__getitem__)
    assert {"alice", "bob"} <= offered("user remove ", site)
    assert offered("logs al", site) == {"alice"}


def run(shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from manylab.cli.main import main; status = main()"
    code += "; assert not {'typer', 'rich', 'pydantic'} & {*sys.modules}; sys.exit(status)"
    environ = {**os.environ, "_MANYLAB_COMPLETE": f"complete_{shell}", **variables}
    return subprocess.run(
        [sys.executable, "-I", "-c", code, str(SOURCE)], capture_output=True, text=True, env=environ, timeout=30
    )


def test_each_shell_is_answered_in_its_own_way_and_without_the_parser():
    assert run("bash", COMP_WORDS="manylab config set http.po", COMP_CWORD="3").stdout == "http.port\n"
    zsh = run("zsh", _TYPER_COMPLETE_ARGS="manylab hist").stdout
    assert zsh.startswith("""_arguments '*: :(("history":"List""")
    fish = {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_ARGS": "manylab config set http.po"}
    assert run("fish", **fish).stdout == "http.port\n"
    fish["_TYPER_COMPLETE_FISH_ACTION"] = "is-args"
    assert run("fish", **fish).returncode == 0
    assert run("fish", **{**fish, "_TYPER_COMPLETE_ARGS": "manylab config check "}).returncode == 0  # options
    assert run("fish", **{**fish, "_TYPER_COMPLETE_ARGS": "manylab config check /e"}).returncode == 1  # files
