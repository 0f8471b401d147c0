"""A package that is imported at its first use."""

from __future__ import annotations

import importlib
import sys

import pytest

from manylab.base.later import later

CODE = """
from pathlib import Path
from mlt_slow.parts import answer
with (Path(__file__).parent / "imports").open("a") as file:
    file.write("x")
def ask(number, more=0):
    return answer() + number + more
also = "there"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Where `mlt_slow` is; it notes each time its code runs."""
    folder = tmp_path / "mlt_slow"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE)
    (folder / "parts.py").write_text("def answer():\n    return 40\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlt_slow"]:
        del sys.modules[name]


def imports(package) -> int:
    return len((package / "imports").read_text()) if (package / "imports").exists() else 0


def test_it_is_imported_when_its_function_is_called_and_once(package):
    later("mlt_slow", "ask")
    from mlt_slow import ask

    assert imports(package) == 0
    assert ask(1, more=1) == 42
    assert ask(2) == 42
    assert imports(package) == 1
    assert sys.modules["mlt_slow"].ask is not ask  # whoever asks from now on gets the real one


def test_it_is_imported_when_anything_else_of_it_is_asked_for(package):
    later("mlt_slow", "ask")
    assert imports(package) == 0
    from mlt_slow import also

    assert (also, imports(package)) == ("there", 1)
    with pytest.raises(AttributeError):
        _ = sys.modules["mlt_slow"].nothing


def test_a_part_of_it_can_be_imported(package):
    later("mlt_slow", "ask")
    assert importlib.import_module("mlt_slow.parts").answer() == 40


def test_one_that_was_imported_and_one_that_is_not_there_are_left_alone(package):
    import mlt_slow

    later("mlt_slow", "ask")
    assert sys.modules["mlt_slow"] is mlt_slow
    later("mlt_nowhere", "ask")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mlt_nowhere")


def test_one_that_cannot_be_imported_says_so_each_time(package):
    (package / "parts.py").unlink()
    later("mlt_slow", "ask")
    from mlt_slow import ask

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="parts"):
            ask(1)
