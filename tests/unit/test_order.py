"""Which tests one worker gets, and which come first: support/order.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import order

TESTS = Path(__file__).parents[1]
LIMITS = "tests/machine/test_limits.py"


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        (f"{LIMITS}::test_it[bookworm-none]", f"{LIMITS} bookworm-none"),
        (f"{LIMITS}::test_it[bookworm-none-bytes]", f"{LIMITS} bookworm-none"),
        (f"{LIMITS}::test_it[bookworm-systemd-/run/hub.sock]", f"{LIMITS} bookworm-systemd"),
        (f"{LIMITS}::test_it[trixie]", f"{LIMITS} trixie"),
        (f"{LIMITS}::test_it[systemd]", f"{LIMITS} systemd"),
        (f"{LIMITS}::test_it", LIMITS),
        (f"{LIMITS}::test_it[nonesuch]", LIMITS),
        (f"{LIMITS}::test_it[a::b]", LIMITS),
    ],
)
def test_the_tests_of_a_file_that_share_a_site_are_for_one_worker(test, unit):
    assert order.unit_of_work(test) == unit


def test_what_others_profit_from_is_first_and_then_all_have_their_place():
    wanted = [
        ("tests/machine/test_harness.py", True),
        ("tests/security/test_confine.py", False),
        ("tests/machine/test_bench.py", False),
        ("tests/machine/test_harness.py", False),
        ("/elsewhere/tests/browser/test_lab_in_a_browser.py", False),
        ("tests/unit/test_bench.py", False),
        ("of/somebody/else.py", False),
    ]
    mixed = wanted[::-1]
    assert sorted(mixed, key=lambda one: order.place(*one)) == wanted


@pytest.mark.parametrize("begin", order.ORDER)
def test_what_has_a_place_is_there(begin):
    assert (TESTS / begin).is_dir() if begin.endswith("/") else (TESTS / f"{begin}.py").exists()
