"""Files of web pages that lie packed beside their originals (`main.js.gz`), and are sent so to whoever takes them.

A browser's first visit to JupyterLab is 6.6 MB, packed 1.7 MB. An environment's files are packed once, when it is built
(`system/environments/packing.py`); while somebody waits it would take a quarter of a second of a processor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, MutableMapping
from pathlib import PurePath
from typing import Any, Final

ENDING: Final = ".gz"
# What is text, and large enough to be worth a second file: pictures and fonts are packed already.
KINDS: Final = frozenset({".css", ".js", ".json", ".svg"})
LEAST: Final = 2048  # bytes

_GZIP = re.compile(r"(?:x-)?gzip\s*(?:;\s*q\s*=\s*(?P<weight>[0-9.]+)\s*)?", re.IGNORECASE)


def takes_gzip(accepted: str) -> bool:
    """Whether an answer may be packed. accepted: the header Accept-Encoding (RFC 9110, 12.5.3). Pure."""
    for part in accepted.split(","):
        if match := _GZIP.fullmatch(part.strip()):
            return (match["weight"] or "1").strip("0.") != ""
    return False


def say_so(headers: MutableMapping[str, str]) -> None:
    """Tell caches on the way that the answer depends on what the browser takes."""
    vary = headers.get("Vary", "")
    headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"


def offer(handler: Any, roots: Collection[str]) -> None:
    """Send what lies packed beside a file, if the browser takes it. Call when a file's headers are set.

    handler: tornado's StaticFileHandler, or one that reads its file in the same way. roots: the environment's folders,
    which nobody but root can write; what others have beside their files is not looked at.
    """
    path: str = handler.absolute_path
    if PurePath(path).suffix not in KINDS or not any(path.startswith(f"{root}/") for root in roots):
        return
    try:
        there, packed = os.stat(path), os.stat(path + ENDING)  # noqa: PTH116 (a hundred times a visit)
    except OSError:
        return
    if there.st_mtime_ns != packed.st_mtime_ns:  # not of this file
        return
    say_so(handler._headers)
    # A part of a file is a part of the original.
    if "Range" in handler.request.headers or not takes_gzip(handler.request.headers.get("Accept-Encoding", "")):
        return
    usual = handler.get_content
    handler.set_header("Content-Encoding", "gzip")
    handler.get_content_size = lambda: packed.st_size
    handler.get_content = lambda path, start=None, end=None: usual(path + ENDING, start, end)


def use(handlers: Any, roots: Collection[str]) -> None:
    """Have a class of handlers, and those made from it that do not change what they read, offer packed files."""
    usual = handlers.set_headers
    if getattr(usual, "of_manylab", False):
        return
    reads = handlers.get_content.__func__

    def set_headers(handler: Any) -> None:
        usual(handler)
        if getattr(handler.get_content, "__func__", None) is reads:
            offer(handler, roots)

    set_headers.of_manylab = True  # type: ignore[attr-defined]
    handlers.set_headers = set_headers
