"""What a browser is sent when it opens the Lab is packed, for those whose network is not the machine's own."""

from __future__ import annotations

import functools
import gzip
import sys
from collections.abc import MutableMapping
from typing import Any, Final

from jupyter_server.base.handlers import FileFindHandler
from tornado.web import OutputTransform

from manylab.base import packed

# Answers that are large, the same for nearly everybody, and secret for nobody: only those are packed (not pages, where
# a stranger could find out what they hold by their size). Below the server's address.
ANSWERS: Final = ("lab/api/settings", "lab/api/translations/", "lsp/status")
_KEPT: Final = 32  # of them, or their versions, in memory; a nursery has those of a first visit before it forks


def use(application: Any) -> None:
    """Have a server's application send packed what can be."""
    packed.use(FileFindHandler, (f"{sys.prefix}/share/jupyter",))
    base = application.settings["base_url"]
    application.add_transform(functools.partial(PackedAnswer, tuple(f"{base}{answer}" for answer in ANSWERS)))


class PackedAnswer(OutputTransform):  # type: ignore[misc,unused-ignore]
    """An answer of tornado's, on its way out."""

    def __init__(self, paths: tuple[str, ...], request: Any) -> None:
        self._concerned = request.method == "GET" and request.path.startswith(paths)
        self._taken = packed.takes_gzip(request.headers.get("Accept-Encoding", ""))

    def transform_first_chunk(
        self, status_code: int, headers: MutableMapping[str, str], chunk: bytes, finishing: bool
    ) -> tuple[int, Any, bytes]:
        """As tornado has it: what it wants to send, and what is sent."""
        whole = finishing and status_code == 200 and "Content-Encoding" not in headers and len(chunk) >= packed.LEAST
        if self._concerned and whole:
            packed.say_so(headers)
            if self._taken:
                chunk = pack(chunk)
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(chunk))
        return status_code, headers, chunk


@functools.lru_cache(maxsize=_KEPT)
def pack(content: bytes) -> bytes:
    """The same content, as gzip has it; the same for the same content."""
    return gzip.compress(content, 6, mtime=0)
