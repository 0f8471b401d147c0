"""What the headers of a request say of its body. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether something follows the headers."""
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


def may_exceed(headers: Mapping[str, str], most: int) -> bool:
    """Whether more than so many bytes may follow: also where they do not say how many."""
    length = headers.get("Content-Length", "")
    return not (length.isdigit() and len(length) < 12 and int(length) <= most)
