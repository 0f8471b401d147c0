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
# They need a browser engine, a desktop's libraries, or a template of one's own.
_OFF_THE_MENU = ("webpdf", "qtpdf", "qtpng", "custom")
_PANDOC = Path("pypandoc/files/pandoc")


def add(environment: Path, *, menu: bool) -> list[str]:
    """Exchange the exporter, and put pandoc beside the environment's other programs. What could not be done, a line
    each.

    menu: whether it is the one whose exporters the Lab's menu offers; then those that cannot work are left out.
    Before anything is compiled and shared. Files are exchanged and never written into, they may be in uv's cache too.
    Raises OSError.
    """
    packages = record.site_packages(environment)
    program, link = packages / _PANDOC, environment / "bin/pandoc"
    if program.is_file() and not link.is_symlink() and not link.exists():
        link.symlink_to(Path("..", program.relative_to(environment)))
    nbconvert = installed(environment).get("nbconvert")
    points = nbconvert.folder / "entry_points.txt" if nbconvert is not None else None
    if nbconvert is None or points is None or not points.exists() or not stat.S_ISREG(points.lstat().st_mode):
        return []
    text, undone = points.read_text(encoding="utf-8"), []
    if menu:
        text = "".join(line for line in text.splitlines(True) if line.partition(" = ")[0] not in _OFF_THE_MENU)
    if (packages / "typst").is_dir() and link.exists():
        module = Path(__file__).with_name("notebook_pdf.py").read_text(encoding="utf-8")
        write_file(packages / f"{MODULE}.py", module, 0o644)
        if _THEIRS not in text and _OURS not in text:
            undone = [f"nbconvert {nbconvert.version} names its exporters in another way: PDF needs LaTeX"]
        text = text.replace(_THEIRS, _OURS)
    write_file(points, text, 0o644)
    return undone
