"""A font with Chinese, Japanese and Korean for every environment: for matplotlib, and for exports to PDF.

It is WenQuanYi Micro Hei (Apache 2.0, or GPL 3 with the font exception), the very file of Debian's fonts-wqy-microhei,
and comes with the program as a wheel: without apt, root or a network of its own (docs/decisions/0029).
"""

from __future__ import annotations

import importlib.util
import shutil
import stat
from pathlib import Path

from manylab.model.environments import FONT
from manylab.system.environments import record
from manylab.system.files import write_file

_WHEEL, _INSIDE = "paperang_p2_fonts_cjk", "fonts/wqy-microhei.ttc"
HELPER = "_manylab_cjk"
# What is added to matplotlib's modules, and what these must have for it.
_ADDED = {
    "font_manager.py": (
        ("\nimport sys\n", "\n    def _find_fonts_by_props(", "\ndef _load_fontmanager(*, try_read_cache=True):"),
        f"\n\n# Added by manylab: Chinese, Japanese and Korean in every text.\n"
        f"from matplotlib import {HELPER}\n\n{HELPER}.complete(FontManager, FontProperties)\n"
        f"{HELPER}.look_again(sys.modules[__name__])\n",
    ),
    "_mathtext.py": (
        ("\nclass UnicodeFonts(",),
        f"\n\n# Added by manylab: Chinese, Japanese and Korean beside formulas.\n"
        f"from matplotlib import {HELPER}\n\n{HELPER}.words_in_mathematics(UnicodeFonts, get_font)\n",
    ),
}


def source() -> Path | None:
    """The font as it came with this program; None where it did not."""
    spec = importlib.util.find_spec(_WHEEL)
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        if (path := Path(folder, _INSIDE)).is_file():
            return path
    return None


def add(environment: Path) -> list[str]:
    """Give an environment the font, and show it to its matplotlib, if it has one. What could not be done, a line each.

    Before anything is compiled and shared. Files are exchanged and never written into, they may be in uv's cache too.
    Raises OSError.
    """
    packages = record.site_packages(environment)
    font = source()
    if font is None:
        return []
    target = environment / FONT
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(font, target)
    target.chmod(0o644)
    matplotlib = packages / "matplotlib"
    fonts = matplotlib / "mpl-data/fonts/ttf"
    if not fonts.is_dir() or any(path.is_symlink() for path in (matplotlib, fonts)):
        return []
    texts = {}
    for name, (needed, added) in _ADDED.items():
        file = matplotlib / name
        text = file.read_text(encoding="utf-8") if file.exists() and stat.S_ISREG(file.lstat().st_mode) else ""
        if not all(part in text for part in needed):
            return ["this version of matplotlib is not known: it draws Chinese only with a font that is chosen for it"]
        texts[file] = text.removesuffix(added) + added
    link = fonts / FONT.name
    link.unlink(missing_ok=True)
    link.symlink_to(Path(*[".."] * len(fonts.relative_to(environment).parts), FONT))
    helper = Path(__file__).with_name("cjk_glyphs.py").read_text(encoding="utf-8")
    write_file(matplotlib / f"{HELPER}.py", helper, 0o644)
    for file, text in texts.items():
        write_file(file, text, 0o644)
        # conda's packages bring some, which may be told never to look at its source again.
        for path in (matplotlib / "__pycache__").glob(f"{file.stem}.*.pyc"):
            path.unlink()
    return []
