"""Whoever waits at a terminal for a download sees how much has come, of how much, and how fast."""

from __future__ import annotations

import sys

import pytest

from manylab.base.errors import CommandFailed
from manylab.system.environments.screen import Screen
from manylab.system.run import run

UP = "\x1b[2A\r\x1b[2K\x1b[1B\r\x1b[2K\r"


def bars(*files: tuple[str, str]) -> str:
    """As uv draws them."""
    return "".join(f"\x1b[2m{name:<30}\x1b[0m \x1b[32m----\x1b[30m--\x1b[0m {far}      " for name, far in files) + UP


def test_the_line_says_how_much_of_how_much_and_how_fast():
    screen = Screen()
    first = screen.feed(bars(("numpy", "1.00 MiB/16.00 MiB"), ("pip", "512.00 KiB/1.00 MiB")), 10.0)
    assert first == "downloading: 1.6 of 17.8 MB, 0.0 MB/s, files to come: 2"
    assert screen.feed(bars(("numpy", "2.00 MiB/16.00 MiB")), 10.1) == ""  # too soon for another line
    # The bar of pip is no longer drawn: it has come.
    line = screen.feed(bars(("numpy", "9.00 MiB/16.00 MiB")), 11.0)
    assert line == "downloading: 10.5 of 17.8 MB, 8.9 MB/s, files to come: 1"
    assert screen.feed("\x1b[2mInstalled 2 packages\r\n", 12.0) == ""


def test_a_bar_that_comes_in_two_pieces_is_read_as_one():
    screen, drawn = Screen(), bars(("numpy", "4.00 MiB/16.00 MiB"))
    assert screen.feed(drawn[:50], 1.0) == ""
    assert screen.feed(drawn[50:], 2.0).startswith("downloading: 4.2 of 16.8 MB")


def program(text: str, status: int = 0) -> list[str]:
    code = "import sys; assert sys.stderr.isatty(); sys.stderr.write(sys.argv[1]); sys.exit(int(sys.argv[2]))"
    return [sys.executable, "-I", "-c", code, text, str(status)]


def test_a_program_that_gets_a_terminal_is_followed_while_it_draws():
    seen: list[str] = []
    done = run(program("10 %\r\x1b[2K20 %\r\x1b[2Kdone\n"), on_screen=seen.append)
    assert "20 %" in "".join(seen)
    assert done.err == "done"


def test_what_it_says_when_it_fails_is_without_bars_and_colours():
    text = "10 %\r\x1b[2K\u280b Resolving..." + " " * 100 + "\x1b[31merror\x1b[0m: no numpy\n  because\n"
    with pytest.raises(CommandFailed, match=r"status 3: error: no numpy\n +because$"):
        run(program(text, 3), on_screen=lambda text: None)


def test_a_program_that_cannot_be_started_leaves_no_terminal_open():
    with pytest.raises(CommandFailed, match="cannot be started"):
        run(["/nonexistent/program"], on_screen=lambda text: None)
