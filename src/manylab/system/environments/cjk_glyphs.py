"""matplotlib draws what none of the chosen fonts has with a font that has Chinese, Japanese and Korean, and notices
fonts that were installed since it wrote its list of fonts into a home.

A copy of this file is in each environment's matplotlib (see fonts.py). The list of fonts in rcParams would not do:
styles, seaborn and most code that people copy replace it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

FAMILY = "WenQuanYi Micro Hei"
FILE = Path(__file__).with_name("mpl-data") / "fonts/ttf/wqy-microhei.ttc"
# Below are scripts that matplotlib's own fonts have; above, in mathematical text, is nothing but words.
_FIRST = 0x2E80


def complete(manager: Any, properties: Any) -> None:
    """Add the font as the last of those that are looked through for each text. manager: FontManager."""
    usual = manager._find_fonts_by_props

    @functools.wraps(usual)
    def _find_fonts_by_props(self: Any, prop: Any, fontext: str = "ttf", *more: Any, **named: Any) -> Any:
        found = usual(self, prop, fontext, *more, **named)
        if fontext == "ttf" and (font := _font(self, properties)) is not None and font not in found:
            found.append(font)
        return found

    manager._find_fonts_by_props = _find_fonts_by_props


def _font(manager: Any, properties: Any) -> Any:
    """The font as this version of matplotlib names it; None when the file is not there."""
    said = {"fallback_to_default": False, "rebuild_if_missing": False}
    for _ in range(2):
        try:
            return manager.findfont(properties(family=[FAMILY]), **said)
        except ValueError:
            # A list of fonts that was kept in a home since before there was this one.
            if not FILE.exists() or any(entry.name == FAMILY for entry in manager.ttflist):
                return None
            manager.addfont(str(FILE))
    return None


def look_again(module: Any) -> None:
    """Have the list of fonts in a home made anew when it is older than a folder of fonts. module: font_manager."""
    usual = module._load_fontmanager

    @functools.wraps(usual)
    def _load_fontmanager(*, try_read_cache: bool = True) -> Any:
        return usual(try_read_cache=try_read_cache and not _is_old(module))

    module._load_fontmanager = _load_fontmanager
    if _is_old(module):
        vars(module.fontManager).update(vars(usual(try_read_cache=False)))


def _is_old(module: Any) -> bool:
    version = module.FontManager.__version__
    try:
        written = Path(module.mpl.get_cachedir(), f"fontlist-v{version}.json").stat().st_mtime
    except OSError:
        return False
    for top in module.X11FontDirectories:
        for folder, _, _ in os.walk(top):
            try:
                # Of a folder, the time at which something in it came or went, which nothing sets back.
                if os.stat(folder).st_ctime > written:  # noqa: PTH116
                    return True
            except OSError:
                continue
    return False


def words_in_mathematics(fonts: Any, get_font: Any) -> None:
    """The same for text with a formula in it, which has fonts of its own. fonts: UnicodeFonts of _mathtext."""
    usual = fonts._get_glyph

    @functools.wraps(usual)
    def _get_glyph(self: Any, fontname: str, font_class: str, sym: str, *more: Any, **named: Any) -> Any:
        if len(sym) == 1 and ord(sym) >= _FIRST and FILE.exists():
            font = get_font(str(FILE))
            if font.get_char_index(ord(sym)):
                return font, ord(sym), False
        return usual(self, fontname, font_class, sym, *more, **named)

    fonts._get_glyph = _get_glyph
