"""What can be asked of an environment of conda packages: match specs and channels. The solver has the last word."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from manylab.config import packages
from manylab.config.values import Wrong, shown, text

# The word `scientific` in conda-forge's names: what locks/scientific.in names for PyPI.
SCIENTIFIC = (
    *("ipykernel", "ipympl", "ipywidgets", "boost-histogram", "matplotlib", "numba", "numpy", "py-opencv", "pandas"),
    *("pillow", "pip", "scikit-learn", "scipy", "sympy", "yt-dlp"),
    *("jupyterlab", "jupyter_console", "notebook", "black", "isort", "pandoc"),
)
DEFAULT_CHANNELS = ("conda-forge",)

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_SPEC = re.compile(rf"(?:{_NAME}(?:/{_NAME})?::)?(?P<name>{_NAME})(?:[\s=<>!~\[].*)?")
_SCHEMES = ("https", "http", "file")


def match_spec(value: Any) -> str:
    """A package as conda names it: "numpy", "numpy>=2", "pytorch=2.*=cpu_*"."""
    checked = text(value).strip()
    if "://" in checked or not checked.isprintable() or not _SPEC.fullmatch(checked):
        what = "an address" if "://" in checked else shown(checked)
        raise Wrong(f"{what} is not a package of conda", 'such as "numpy", "numpy>=2" or "pytorch=2.*=cpu_*"')
    return checked


def requirement_or_spec(value: Any) -> str:
    """A package for either backend; which it is, and whether it fits, is seen where the backend is known."""
    try:
        return packages.requirement(value)
    except Wrong as wrong:
        try:
            return match_spec(value)
        except Wrong:
            raise wrong from None


def name(spec: str) -> str:
    """The name that a match spec is about: "conda-forge::NumPy>=2" -> "numpy"."""
    found = _SPEC.fullmatch(spec.strip())
    return found["name"].lower() if found else spec


def channel(value: Any) -> str:
    """A channel by name ("conda-forge") or address, without a password: it stands in the lock."""
    checked = text(value).strip()
    if "://" not in checked:
        if not re.fullmatch(rf"{_NAME}(?:/{_NAME}){{0,3}}", checked):
            raise Wrong(f"{shown(checked)} is not a channel", 'such as "conda-forge", or an address')
        return checked
    try:
        parts = urlsplit(checked)
    except ValueError:
        raise Wrong("a channel's address is not a URL") from None
    if parts.username is not None or re.search(r"/t/[^/]+/", parts.path) or parts.query or parts.fragment:
        raise Wrong(
            "a channel's address contains a password or token",
            "leave it out; it belongs into mirrors.channels, or into a netrc file",
        )
    if parts.scheme not in _SCHEMES or (parts.scheme != "file" and not parts.hostname):
        raise Wrong("a channel's address cannot be used", "begin it with https, http or file")
    return checked.rstrip("/")
