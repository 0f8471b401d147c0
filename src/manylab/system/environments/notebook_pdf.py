"""nbconvert's exporter to PDF: notebook -> HTML -> pandoc -> Typst -> PDF.

A copy of this file is in each environment that has nbconvert, pandoc and Typst (see exports.py), in the place of the
exporter that needs LaTeX. No browser and no network; pandoc and Typst are processes of their own, with limits.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from traitlets import Integer
from traitlets.config import Config

_TEMPLATE = """\
{%- extends 'base/display_priority.j2' -%}
{% block input %}
<pre class="{{ nb.metadata.get('language_info', {}).get('name', 'python') | e }}"><code>
{{- cell.source | e }}</code></pre>
{% endblock %}
{% block stream %}<pre class="output"><code>{{ output.text | strip_ansi | e }}</code></pre>
{% endblock %}
{% block error %}<pre class="output"><code>{{ output.traceback | join('\\n') | strip_ansi | e }}</code></pre>
{% endblock %}
{% block execute_result %}{{ self.data_priority() }}{% endblock %}
{% block data_png %}<p><img src="data:image/png;base64,{{ output.data['image/png'] }}" alt=""/></p>
{% endblock %}
{% block data_jpg %}<p><img src="data:image/jpeg;base64,{{ output.data['image/jpeg'] }}" alt=""/></p>
{% endblock %}
{% block data_svg %}<p><img src="data:image/svg+xml,{{ output.data['image/svg+xml'] | urlencode }}" alt=""/></p>
{% endblock %}
{% block data_latex %}<p>{{ output.data['text/latex'] | e }}</p>
{% endblock %}
{% block data_markdown %}{{ output.data['text/markdown'] | markdown2html }}
{% endblock %}
{% block data_html %}<div class="html-output">{{ output.data['text/html'] }}</div>
{%- if output.data['text/plain'] %}
<pre class="output otherwise"><code>{{ output.data['text/plain'] | strip_ansi | e }}</code></pre>
{% endif %}{% endblock %}
{% block data_text %}<pre class="output"><code>{{ output.data['text/plain'] | strip_ansi | e }}</code></pre>
{% endblock %}
{% block markdowncell %}{{ cell.source | markdown2html }}
{% endblock %}
"""
# How it looks. Fonts that a machine has not are passed over; the third has Chinese, Japanese and Korean.
_TYPST = """\
#set page(paper: "a4", margin: 2cm, numbering: "1")
#set text(font: ("Libertinus Serif", "DejaVu Sans Mono", "WenQuanYi Micro Hei"), size: 10.5pt)
#set par(justify: true)
#show heading: set text(font: ("Libertinus Serif", "WenQuanYi Micro Hei"))
#show heading: set block(above: 1.4em, below: 0.8em)
#show math.equation: set text(font: ("New Computer Modern Math", "WenQuanYi Micro Hei"))
#show raw: set text(font: ("DejaVu Sans Mono", "WenQuanYi Micro Hei Mono"), size: 8.5pt)
#show raw.where(block: true): it => block(
  width: 100%, inset: 6pt, radius: 2pt, fill: if it.lang == "output" { none } else { luma(244) },
  { set par(justify: false); it },
)
#show link: set text(fill: rgb("#1a5fb4"))
#show figure: set block(breakable: true)
#set table(inset: 4pt, stroke: 0.4pt + luma(200))
#show table: it => {
  set text(size: if it.columns.len() > 20 { 4.5pt } else if it.columns.len() > 10 { 6.5pt } else { 9pt })
  set par(justify: false)
  it
}
#show quote: set pad(left: 1em)
#let horizontalrule = line(length: 100%, stroke: 0.5pt + luma(180))
#let divider = horizontalrule
"""
_COMPILE = """\
import resource, sys, typst
limit, source, target, *fonts = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
typst.compile(source, output=target, root=source.rpartition("/")[0], font_paths=fonts)
"""
_PICTURES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
}
_SUFFIXES = {*_PICTURES.values(), ".jpeg"}
# Mathematics as Jupyter takes it without dollars; what has them, and code, is left alone.
_ENVIRONMENT = re.compile(
    r"(<pre.*?</pre>|\$\$.*?\$\$)|\\begin\{(equation|align|alignat|gather|multline|eqnarray|flalign)(\*?)\}.*?\\end\{\2\3\}",
    re.DOTALL,
)
# Longer than this many characters does not fit on a line: room to break it.
_UNBROKEN = re.compile(r"\S{80}")
# Pixels: what is less wide keeps its size, what is wider gets the width of the page.
_WIDE = 640


class PDFExporter(HTMLExporter):
    """PDF, with Chinese, Japanese and Korean, formulas, tables and pictures."""

    export_from_notebook = "PDF"
    output_mimetype = "application/pdf"

    timeout = Integer(180, help="Seconds that each of pandoc and Typst may take").tag(config=True)
    memory = Integer(2048, help="MiB that each of pandoc and Typst may take").tag(config=True)

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)  # type: ignore[no-untyped-call,unused-ignore]
        self.raw_template = _TEMPLATE
        self.exclude_anchor_links = True
        self.embed_images = False

    def _file_extension_default(self) -> str:
        return ".pdf"

    def _template_name_default(self) -> str:
        return "base"

    @property
    def default_config(self) -> Config:
        """Pictures before HTML: a plot of a package that draws in the browser is nothing but a script."""
        kinds = ["image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/html", "text/markdown", "text/plain"]
        config = Config({"NbConvertBase": {"display_data_priority": kinds}})
        usual = super().default_config.copy()
        usual.merge(config)
        return usual

    def from_notebook_node(self, nb: Any, resources: Any = None, **named: Any) -> tuple[Any, Any]:
        """The PDF, as bytes. Raises RuntimeError with a sentence."""
        html, resources = super().from_notebook_node(nb, resources, **named)
        folder_of_notebook = (resources.get("metadata") or {}).get("path") or ""
        with tempfile.TemporaryDirectory(prefix="nbconvert-") as name:
            folder = Path(name)
            try:
                pdf = self._typeset(page(html, folder, folder_of_notebook), folder)
            except NotTypeset as problem:
                # Better a plain document than none; what was wrong is said at its beginning.
                self.log.warning("The notebook's text cannot be typeset: %s", problem)
                pdf = self._typeset(plain(html, str(problem)), folder)
        resources["output_extension"] = ".pdf"
        resources.pop("outputs", None)
        return pdf, resources

    def _typeset(self, html: str, folder: Path) -> bytes:
        source, target = folder / "notebook.typ", folder / "notebook.pdf"
        pandoc = [pandoc_program(), "+RTS", f"-M{self.memory}m", "-RTS", "--sandbox", "--wrap=preserve"]
        body = self._run([*pandoc, "-f", "html+tex_math_dollars", "-t", "typst"], html.encode())
        source.write_text(_TYPST + "\n" + body.decode(errors="replace"), encoding="utf-8")
        limit = str(self.memory << 20)
        fonts = str(Path(sys.prefix, "share/fonts"))
        self._run([sys.executable, "-I", "-c", _COMPILE, limit, str(source), str(target), fonts], b"")
        return target.read_bytes()

    def _run(self, argv: list[str], given: bytes) -> bytes:
        try:
            done = subprocess.run(argv, input=given, capture_output=True, timeout=self.timeout, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"typesetting takes longer than {self.timeout} s; export to HTML") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise NotTypeset(lines[-1] if lines else f"{Path(argv[0]).name} ended with status {done.returncode}")
        return done.stdout


class NotTypeset(RuntimeError):
    """pandoc or Typst refused the document."""


def pandoc_program() -> str:
    """pandoc, as its wheel has it, else the one on PATH. Raises RuntimeError."""
    spec = importlib.util.find_spec("pypandoc")
    found = shutil.which("pandoc")
    if spec is not None and spec.origin and (inside := Path(spec.origin).with_name("files") / "pandoc").exists():
        found = str(inside)
    if not found:
        raise RuntimeError("pandoc is not in this environment; export the notebook to HTML, or install pypandoc-binary")
    return found


def page(html: str, folder: Path, beside: str) -> str:
    """The document as pandoc and Typst can take it. beside: the notebook's folder; pictures are put into `folder`."""
    wrapped = _ENVIRONMENT.sub(lambda found: found[0] if found[1] else f"$${found[0]}$$", html)
    soup: Any = BeautifulSoup(wrapped, "html.parser")
    for output in soup.select("div.html-output"):
        otherwise = output.find_next_sibling()
        words = otherwise is not None and "otherwise" in (otherwise.get("class") or [])
        for script in output.find_all(["script", "style", "iframe"]):
            script.decompose()
        if output.get_text(strip=True) or output.find("img"):
            if words:
                otherwise.decompose()
        else:
            output.decompose()
    for text in soup.select("pre.output code"):
        text.string = _UNBROKEN.sub("\\g<0>\u200b", text.get_text())
    for number, image in enumerate(soup.find_all("img")):
        _picture(image, folder / f"{number}", beside)
    for drawn in soup.find_all(["svg", "script", "style", "iframe", "video", "audio"]):
        drawn.decompose()
    seen: set[str] = set()
    for element in soup.find_all(id=True):
        if element["id"] in seen:
            del element["id"]
        else:
            seen.add(element["id"])
    for link in soup.find_all("a"):
        target = str(link.get("href") or "")
        # A link to nowhere is an error of Typst's.
        if not target or (target.startswith("#") and target[1:] not in seen):
            link.unwrap()
    return str(soup)


def _picture(image: Any, target: Path, beside: str) -> None:
    """Lay the picture into a file; what is not there or of another kind becomes its own name."""
    source = str(image.get("src") or "")
    content, suffix = b"", ""
    try:
        if source.startswith("data:"):
            head, _, body = source[5:].partition(",")
            suffix = _PICTURES.get(head.partition(";")[0], "")
            content = base64.b64decode(body) if head.endswith(";base64") else unquote_to_bytes(body)
        elif "://" not in source:
            path = Path(beside or ".", unquote(source.partition("?")[0]))
            suffix = path.suffix.lower()
            content = path.read_bytes() if suffix in _SUFFIXES and path.is_file() else b""
    except (OSError, ValueError, binascii.Error):
        content = b""
    if not content or suffix not in _SUFFIXES:
        shown = "" if source.startswith("data:") else source
        image.replace_with(f"[{image.get('alt') or shown or 'picture'}]")
        return
    target.with_suffix(suffix).write_bytes(content)
    image["src"] = target.with_suffix(suffix).name
    if suffix == ".png" and not image.get("width") and (width := int.from_bytes(content[16:20], "big")) < _WIDE:
        image["width"] = str(width)
    if not image.get("alt") or str(image["alt"]).startswith("No description"):
        image["alt"] = ""


def plain(html: str, problem: str) -> str:
    """Nothing but words: for a notebook that is refused otherwise."""
    soup = BeautifulSoup("", "html.parser")
    note = soup.new_tag("p")
    note.string = f"(This notebook is shown as plain text, because its text could not be typeset: {problem})"
    for part in (note, *_texts(soup, html)):
        soup.append(part)
    return str(soup)


def _texts(soup: Any, html: str) -> list[Any]:
    found = []
    for part in BeautifulSoup(html, "html.parser").find_all(True, recursive=False):
        block = soup.new_tag("pre", attrs={"class": "output" if part.name != "pre" else part.get("class", "")})
        block.string = part.get_text()
        found.append(block)
    return found
