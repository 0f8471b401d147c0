"""Which of nbconvert's formats the Lab's export menu offers: those that work here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Each needs a browser engine or a desktop's libraries; PDF is there without them.
_NEVER = ("WebPDFExporter", "QtPDFExporter", "QtPNGExporter")
_WITH_PANDOC = ("LatexExporter", "RSTExporter", "ASCIIDocExporter")
# What the server environment has in the place of nbconvert's own, which needs LaTeX too (system.environments.exports).
_PDF = "_manylab_pdf"


def offered(find_program: Callable[[str], object], find_module: Callable[[str], object]) -> dict[str, dict[str, Any]]:
    """Settings of the exporters, by class. find_program: shutil.which; find_module: importlib.util.find_spec."""
    pandoc = bool(find_program("pandoc"))
    return {
        **{name: {"enabled": False} for name in _NEVER},
        **{name: {"enabled": pandoc} for name in _WITH_PANDOC},
        "PDFExporter": {"enabled": bool(find_module(_PDF)) or bool(pandoc and find_program("xelatex"))},
        # Without it a vector picture in a notebook is an error in place of a LaTeX document.
        "SVG2PDFPreprocessor": {"enabled": bool(find_program("inkscape"))},
    }
