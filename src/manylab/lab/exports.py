"""Which of nbconvert's formats the Lab's export menu offers: those that work here.

What never does has no entry point in the server environment (system.environments.exports).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_WITH_PANDOC = ("LatexExporter", "RSTExporter", "ASCIIDocExporter")
# What the server environment has in the place of nbconvert's own, which needs LaTeX too (system.environments.exports).
_PDF = "_manylab_pdf"


def offered(find_program: Callable[[str], object], find_module: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """Settings of the exporters, by class. find_program: shutil.which; find_module: importlib.util.find_spec."""
    pandoc = bool(find_program("pandoc"))
    return {
        **{name: {"enabled": pandoc} for name in _WITH_PANDOC},
        "PDFExporter": {"enabled": bool(find_module(_PDF)) or bool(pandoc and find_program("xelatex"))},
        # Without it a vector picture in a notebook is an error in place of a LaTeX document.
        "SVG2PDFPreprocessor": {"enabled": bool(find_program("inkscape"))},
    }
