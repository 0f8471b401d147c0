"""A line in a file of somebody else's: /etc/zsh/zprofile."""

from __future__ import annotations

from pathlib import Path

from manylab.model.resources import Line
from manylab.system import files


def test_a_line_comes_and_goes_and_the_rest_stays_as_it_is_in_any_encoding(tmp_path: Path):
    path = tmp_path / "zprofile"
    for before in (b"", b"# caf\xe9\n", b"# \xd6\xd0\r\nx=1\n"):
        path.write_bytes(before)
        want = Line(path, ". /etc/profile.d/manylab.sh")
        assert files.observe_line(want) != want
        files.add_line(want)
        assert files.observe_line(want) == want
        assert path.read_bytes() == before + b". /etc/profile.d/manylab.sh\n"
        assert files.remove_line(want) and not files.remove_line(want)
        assert path.read_bytes() == before
