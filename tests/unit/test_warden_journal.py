"""Each server's own line to the journal."""

from __future__ import annotations

import os
import socket

import pytest

from manylab.warden import journal


@pytest.fixture
def listener(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:4711")
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "stdout"))
        found.listen(8)
        found.settimeout(10)
        yield found


def test_it_says_who_writes_and_that_nobody_is_called_to_the_console(listener, tmp_path):
    descriptor = journal.open_stream(str(tmp_path / "stdout"))
    os.write(descriptor, b"<0>hello\n")
    os.close(descriptor)
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        # identifier, unit, priority, whether lines begin with one, syslog, kmsg, console
        assert lines.read() == b"manylab-server\n\n6\n0\n0\n0\n0\n<0>hello\n"


def test_what_one_closes_for_good_is_open_for_the_others(listener, tmp_path):
    one, other = (journal.open_stream(str(tmp_path / "stdout")) for _ in range(2))
    with socket.socket(fileno=one) as theirs:
        theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(BrokenPipeError):
            os.write(one, b"x")
        assert os.write(other, b"still here\n") == 11
    os.close(other)


def test_it_waits_for_no_journal_and_needs_none(listener, tmp_path, monkeypatch):
    assert journal.open_stream(str(tmp_path / "gone")) is None
    monkeypatch.delenv("JOURNAL_STREAM")
    assert journal.open_stream(str(tmp_path / "stdout")) is None
