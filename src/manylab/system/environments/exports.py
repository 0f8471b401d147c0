"""Exports of notebooks in an environment that has nbconvert: PDF without LaTeX and without a browser.

nbconvert knows its exporters by entry points. The one for PDF, which runs xelatex, is exchanged for `notebook_pdf`
where pandoc and Typst are in the environment (docs/decisions/0029).
"""

from __future__ import annotations

import stat
from pathlib import Path

from manylab.system.environments import record
from manylab.system.environments.distributions import installed
from manylab.system.files import write_file

MODULE = "_manylab_pdf"
_THEIRS, _OURS = "pdf = nbconvert.exporters:PDFExporter\n", f"pdf = {MODULE}:PDFExporter\n"
_PANDOC = Path("pypandoc/files/pandoc")


def add(environment: Path) -> list[str]:
    """Exchange the exporter, and put pandoc beside the environment's other programs. What could not be done, a line
    each.

    Before anything is compiled and shared. Files are exchanged and never written into, they may be in uv's cache too.
    Raises OSError.
    """
    packages = record.site_packages(environment)
    program, link = packages / _PANDOC, environment / "bin/pandoc"
    if program.is_file() and not link.is_symlink() and not link.exists():
        link.symlink_to(Path("..", program.relative_to(environment)))
    nbconvert = installed(environment).get("nbconvert")
    if nbconvert is None or not (packages / "typst").is_dir() or not link.exists():
        return []
    points = nbconvert.folder / "entry_points.txt"
    text = points.read_text(encoding="utf-8") if stat.S_ISREG(points.lstat().st_mode) else ""
    if _THEIRS not in text and _OURS not in text:
        return [f"nbconvert {nbconvert.version} names its exporters in another way: PDF needs LaTeX"]
    module = Path(__file__).with_name("notebook_pdf.py").read_text(encoding="utf-8")
    write_file(packages / f"{MODULE}.py", module, 0o644)
    write_file(points, text.replace(_THEIRS, _OURS), 0o644)
    return []
