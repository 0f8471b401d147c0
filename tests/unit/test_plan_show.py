"""What `plan`, `apply` and `history` say: what was set first, and machinery as a number."""

from __future__ import annotations

import pytest

from manylab.apply import difference, phases
from manylab.base.progress import is_phase
from manylab.cli.result import Progress
from manylab.config.load import parse
from manylab.model.resources import Account, Environment, File, Service
from manylab.plan import show
from manylab.plan.diff import Change
from manylab.plan.packages import Moved
from manylab.plan.settings import changed

WSL = changed(parse(""), parse('[http]\nbase_url = "/wsl"\n'))
LONG = Change("file /run/services.json", "update", ("+ " + "x" * 900,))


def test_settings_come_first_then_restarts_and_files_are_a_number():
    changes = [
        LONG,
        Change("file /etc/x", "create"),
        Change("service manylab-hub", "update"),
        Change("link /y", "update"),
    ]
    assert show.in_short(WSL, {}, changes, ["proxy", "hub"]).splitlines() == [
        'http.base_url: "/" -> "/wsl"',
        "Restarts proxy, hub; people's servers and kernels go on.",
        "Changes 2 files, 1 link (--files lists them).",
    ]


def test_packages_are_named_up_to_a_few():
    moved = [Moved(f"package{number}", None, "1") for number in range(20)]
    (line,) = show.environments([], {"default": moved})
    assert line.startswith("environment default: + package0 1, ") and line.endswith("and 12 more")
    assert show.environments([Change("environment par", "create", ("7 packages",))], {}) == [
        "environment par: 7 packages"
    ]


def test_a_long_line_of_a_difference_is_cut():
    assert max(map(len, show.as_text([LONG]).splitlines())) <= 124


def test_what_history_says_of_a_change():
    two = changed(parse(""), parse('[http]\nbase_url = "/wsl"\n[site]\nname = "Lab"\n'))
    assert difference.Difference(two, {}).summary == 'site.name: "manylab" -> "Lab"; http.base_url: "/" -> "/wsl"'
    assert difference.Difference((), {"default": ()}, True).summary == "packages of default"
    assert difference.Difference((), {}, True).summary == "another version of manylab"
    assert difference.Difference((), {}).summary == "as before"


@pytest.mark.parametrize(
    ("want", "after", "line"),
    [
        (Account("manylab", "manylab-hub"), False, "[2/6] accounts and folders"),
        (File(LONG.key, ""), True, "[4/6] files"),
        (Service("manylab-hub"), True, "[5/6] services"),
    ],
)
def test_each_resource_has_its_phase(want, after, line):
    assert phases.of(want, (), after)[1] == line and is_phase(line)


def test_environments_are_a_phase_that_says_how_much_it_is():
    lock = "".join(f"p{number}==1\n" for number in range(400))
    env = Environment("default", LONG.key, "abc", "/usr/bin/python3", "3.11", lock)
    number, line = phases.of(env, [env], True)
    assert number == 3 and "environments default: 400 packages, about 2 min" in line


def test_elsewhere_than_on_a_terminal_there_are_phases_and_a_log_and_nothing_else(tmp_path, capsys):
    log = tmp_path / "logs" / "apply.log"
    with Progress(log, tmp_path) as progress:
        for line in ("[2/6] accounts and folders", "create group manylab", "[4/6] files", "create file /etc/x", ""):
            progress.say(line)
    assert capsys.readouterr().err.splitlines() == [
        "manylab: [2/6] accounts and folders",
        f"manylab: every step is written to {log}",
        "manylab: [4/6] files",
    ]
    assert "create group manylab" in log.read_text() and "create file /etc/x" in log.read_text()
    assert log.parent.stat().st_mode & 0o007 == 0


def test_a_log_that_cannot_be_written_keeps_nobody_from_working(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with Progress(tmp_path / "file" / "apply.log") as progress:
        progress.say("[4/6] files")
    assert capsys.readouterr().err == "manylab: [4/6] files\n"
