"""What an environment has beyond its packages: the font in matplotlib, the exporter to PDF, the debugger's guard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from manylab.lab import exports as menu
from manylab.model.environments import FORMAT
from manylab.system.environments import (
    cjk_glyphs,
    debugger,
    exports,
    fonts,
    notebook_pdf,
    same_account,
)

SHA256_OF_DEBIANS = "2420e8078af796b19a3f6ef13de527a1a91c1e7171eea115926c614ced1009b3"


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    return tmp_path


def laid(environment: Path, files: dict[str, str]) -> Path:
    packages = environment / "lib/python3.11/site-packages"
    for name, text in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    return packages


def test_the_format_of_environments_was_raised_when_what_is_added_changed():
    """Else a site would keep environments with the old text."""
    files = "".join(Path(module.__file__).read_text() for module in (same_account, cjk_glyphs, notebook_pdf, exports))
    added = files + debugger._ADDED + str(fonts._ADDED)
    assert (FORMAT, hashlib.sha256(added.encode()).hexdigest()[:12]) == (6, "917c360e3ce0")


def test_the_font_is_the_one_of_debian():
    found = fonts.source()
    assert found is not None
    assert hashlib.sha256(found.read_bytes()).hexdigest() == SHA256_OF_DEBIANS


MATPLOTLIB = {
    "matplotlib/font_manager.py": "import os\nimport sys\nclass FontManager:\n"
    "    def _find_fonts_by_props(self):\n        pass\n"
    "def _load_fontmanager(*, try_read_cache=True):\n    pass\n",
    "matplotlib/_mathtext.py": "x = 1\nclass UnicodeFonts(object):\n    pass\n",
    "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf": "",
}


def test_matplotlib_is_shown_the_font_and_its_files_are_exchanged_not_written_into(environment, tmp_path):
    packages = laid(environment, MATPLOTLIB)
    cached = tmp_path / "cached.py"
    cached.hardlink_to(packages / "matplotlib/font_manager.py")
    for _ in range(2):
        assert fonts.add(environment) == []
    assert cached.read_text() == MATPLOTLIB["matplotlib/font_manager.py"]
    assert (packages / "matplotlib/font_manager.py").read_text().count("_manylab_cjk.complete(") == 1
    assert (packages / "matplotlib/_mathtext.py").read_text().count("words_in_mathematics(") == 1
    assert (packages / "matplotlib/mpl-data/fonts/ttf/wqy-microhei.ttc").read_bytes() == fonts.source().read_bytes()


def test_a_matplotlib_that_is_not_known_is_left_alone_and_said(environment):
    packages = laid(environment, MATPLOTLIB | {"matplotlib/_mathtext.py": "x = 1\n"})
    (said,) = fonts.add(environment)
    assert "this version of matplotlib is not known" in said
    assert "manylab" not in (packages / "matplotlib/font_manager.py").read_text()


NBCONVERT = {
    "nbconvert-7.0.dist-info/METADATA": "Name: nbconvert\nVersion: 7.0\n",
    "nbconvert-7.0.dist-info/RECORD": "",
    "nbconvert-7.0.dist-info/entry_points.txt": "[nbconvert.exporters]\npdf = nbconvert.exporters:PDFExporter\n",
}
TYPESETTING = {"pypandoc/files/pandoc": "", "typst/__init__.py": ""}


def test_nbconvert_makes_pdf_without_latex_where_pandoc_and_typst_are(environment):
    packages = laid(environment, NBCONVERT | TYPESETTING)
    for _ in range(2):
        assert exports.add(environment, menu=False) == []
    points = (packages / "nbconvert-7.0.dist-info/entry_points.txt").read_text()
    assert points == "[nbconvert.exporters]\npdf = _manylab_pdf:PDFExporter\n"
    assert (environment / "bin/pandoc").resolve() == packages / "pypandoc/files/pandoc"
    assert (packages / "_manylab_pdf.py").exists()


def test_what_cannot_work_is_not_on_the_menu(environment):
    more = {"nbconvert-7.0.dist-info/entry_points.txt": "[x]\ncustom = a:B\nhtml = c:D\npdf = e:F\nwebpdf = g:H\n"}
    packages = laid(environment, NBCONVERT | more)
    assert exports.add(environment, menu=True) == []
    assert (packages / "nbconvert-7.0.dist-info/entry_points.txt").read_text() == "[x]\nhtml = c:D\npdf = e:F\n"


def test_nbconvert_alone_stays_as_it_is(environment):
    packages = laid(environment, NBCONVERT)
    assert exports.add(environment, menu=False) == []
    assert not (packages / "_manylab_pdf.py").exists()


@pytest.mark.parametrize(
    ("programs", "modules", "offered"),
    [
        ((), (), set()),
        ((), ("_manylab_pdf",), {"PDFExporter"}),
        (("pandoc",), ("_manylab_pdf",), {"PDFExporter", "LatexExporter", "RSTExporter", "ASCIIDocExporter"}),
        (("pandoc",), (), {"LatexExporter", "RSTExporter", "ASCIIDocExporter"}),
    ],
)
def test_the_menu_offers_what_works(programs, modules, offered):
    found = menu.offered(lambda name: name in programs, lambda name: name in modules)
    assert {name for name, said in found.items() if said["enabled"]} == offered


def test_what_typst_would_refuse_is_taken_out_of_a_page(tmp_path):
    html = (
        '<h1 id="a">A</h1><h1 id="a">B</h1><a href="#nowhere">x</a><a href="#a">y</a>'
        '<img src="http://far.invalid/p.png" alt="far"/><img src="none.png"/>'
        "<pre>\\begin{align}</pre>\\begin{align}z\\end{align}"
        '<div class="html-output"><script>1</script></div><pre class="output otherwise"><code>text</code></pre>'
    )
    found = notebook_pdf.page(html, tmp_path, str(tmp_path))
    assert found.count('id="a"') == 1
    assert "#nowhere" not in found and 'href="#a"' in found
    assert "[far]" in found and "[none.png]" in found
    assert "$$\\begin{align}z\\end{align}$$" in found and "<pre>\\begin" in found
    assert "html-output" not in found and "text</code>" in found
