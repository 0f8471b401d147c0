"""How checks are declared, run, counted and printed; and that the reference is the table."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from typer.main import get_command

from manylab.base.errors import CommandFailed
from manylab.base.layout import personal_layout, system_layout
from manylab.cli import main
from manylab.cli.app import app
from manylab.cli.doctor import reference, report
from manylab.cli.doctor.checks import ALL
from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Check, Finding, count, examine, examine_all, fine, problem, warning

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "doctor.md"


@pytest.fixture
def scene(tmp_path):
    return Scene(personal_layout(tmp_path), root=False, umask=0o022)


def check(look):
    return Check("some-id", "All is well", "because", "sudo mend it", look)


def raising(error):
    def look(scene):
        raise error
        yield

    return check(look)


def test_there_are_enough_checks_and_each_says_what_to_do():
    assert len(ALL) >= 24
    for asked in ALL.values():
        assert asked.title and asked.why.endswith((".", ")", "?")) and asked.mend, asked.id
        assert not asked.title.endswith(".")


def test_the_reference_is_up_to_date():
    again = "run: python -m manylab.cli.doctor.reference"
    assert REFERENCE.read_text(encoding="utf-8") == reference.page(), again


def test_every_command_of_ours_that_is_advised_exists():
    main.load()
    known = get_command(app)
    for asked in ALL.values():
        for name, further in re.findall(r"sudo manylab ([a-z]+)(?: ([a-z]+))?", asked.mend + " " + asked.why):
            assert name in known.commands, f"{asked.id} advises {name}"
            below = getattr(known.commands[name], "commands", None)
            assert below is None or further in below, f"{asked.id} advises {name} {further}"


def test_a_check_without_findings_is_fine(scene):
    assert examine(check(lambda scene: []), scene).level == "ok"


def test_a_check_is_as_bad_as_its_worst_finding(scene):
    found = examine(check(lambda scene: [warning("a"), problem("b"), fine("c")]), scene)
    assert found.level == "problem"


def test_a_check_that_raises_is_a_problem_and_does_not_stop_the_others(scene):
    broken, sound = raising(ZeroDivisionError("by zero")), check(lambda scene: [])
    first, second = examine_all(scene, {"a": broken, "b": sound})
    assert first.findings[0].what == "check failed: ZeroDivisionError: by zero"
    assert second.level == "ok"


def test_a_check_that_hangs_is_said_to_and_the_others_are_made(scene):
    def hang(scene):
        time.sleep(100)
        yield

    checks = {
        "a": check(hang),
        "b": check(lambda scene: [warning("b")]),
        "c": check(hang),
        "d": check(lambda scene: []),
    }
    began = time.monotonic()
    found = list(examine_all(scene, checks, seconds=1, afterwards=0.5))
    assert time.monotonic() - began < 10
    assert [one.level for one in found] == ["problem", "warning", "problem", "ok"]
    assert found[0].findings[0].what == "check did not end within 1 s: what it looks at hangs"


def test_a_check_whose_process_is_killed_is_a_problem_and_the_others_are_made(scene):
    killed = check(lambda scene: os.kill(os.getpid(), 9))
    assert [one.level for one in examine_all(scene, {"a": killed, "b": check(lambda scene: [])})] == ["problem", "ok"]


def test_an_error_of_ours_in_a_check_keeps_its_words(scene):
    found = examine(raising(CommandFailed("uv ended with status 2")), scene)
    assert found.findings[0].what == "check failed: uv ended with status 2"


def test_what_only_root_may_see_is_skipped_for_others_and_a_failure_for_root(tmp_path):
    denied = raising(PermissionError(13, "Permission denied", "/etc/shadow"))
    layout = system_layout(tmp_path)
    assert examine(denied, Scene(layout, root=False, umask=0)).findings[0].what == "only root may look at /etc/shadow"
    assert examine(denied, Scene(layout, root=True, umask=0)).level == "problem"


def test_a_check_that_cannot_be_made_says_why(scene):
    found = examine(raising(Skip("there is no site yet")), scene)
    assert found.findings == (Finding("skipped", "there is no site yet"),)


def test_the_summary_counts_checks_not_findings(scene):
    asked = [
        check(lambda scene: [problem("a"), problem("b")]),
        check(lambda scene: [warning("c")]),
        check(lambda scene: [fine("d")]),
        raising(Skip("no")),
    ]
    examined = [examine(one, scene) for one in asked]
    assert count(examined) == {"ok": 1, "skipped": 1, "warning": 1, "problem": 1}
    assert report.summary(examined) == "4 checks: 1 fine, 1 warning, 1 problem, 1 skipped"


def test_by_default_only_what_needs_somebody_is_shown(scene):
    examined = [examine(check(lambda scene: [problem("it is gone"), fine("harmless")]), scene)]
    text = report.as_text(examined, everything=False)
    assert "some-id: it is gone" in text and "because" in text and "sudo mend it" in text
    assert "harmless" not in text
    assert "harmless" in report.as_text(examined, everything=True)


def test_a_finding_s_own_command_comes_before_the_check_s(scene):
    found = examine(check(lambda scene: [problem("x", "rm x")]), scene)
    assert report.as_json([found])["checks"][0]["findings"] == [{"level": "problem", "what": "x", "mend": "rm x"}]


def test_names_that_people_chose_cannot_drive_the_terminal(scene):
    examined = [examine(check(lambda scene: [problem("/home/eve/\x1b]0;evil\x07")]), scene)]
    assert "\x1b" not in report.as_text(examined, everything=False)


@pytest.mark.parametrize(("word", "counts"), [("configurable-http-proxy", False), ("0" * 31 + "f", True)])
def test_a_word_that_somebody_calls_a_token_is_none(scene, word, counts):
    """Else whatever runs with that word in its command line would be said to show a secret, and to be ended."""
    with subprocess.Popen(["sleep", "100"], env={"JUPYTERHUB_API_TOKEN": word}) as process:
        try:
            assert (word in scene.secrets.values()) is counts
        finally:
            process.kill()


def test_every_check_survives_a_machine_without_a_site(tmp_path):
    scene = Scene(system_layout(tmp_path), root=False, umask=0o022)
    for examined in examine_all(scene, ALL):
        assert not any("check failed" in one.what for one in examined.findings), examined
