"""What can be asked of an environment: PEP 508 requirements and the words for package sets. Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from manylab.config.values import Wrong, shown, text

# A word in `packages` that stands for a list kept with the locks; no package of that name is ever installed.
SETS = ("scientific",)

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[A-Za-z0-9.*+!_-]+"
_CLAUSE = rf"(?:~=|===?|!=|<=|>=|<|>)\s*{_VERSION}"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})\s*(?:\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\])?\s*"
    rf"(?:@\s*(?P<url>[^\s;]+)|\(?\s*(?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?\s*\)?)\s*(?P<marker>;.+)?"
)
_URL_SCHEMES = ("https", "git+https", "git+ssh", "file")


def requirement(value: Any) -> str:
    """A requirement such as "numpy>=2", or the name of a package set. Options and paths of pip are refused."""
    checked = text(value).strip()
    found = _REQUIREMENT.fullmatch(checked) if checked.isprintable() else None
    if found is None:
        hint = 'such as "numpy", "numpy>=2", "jupyterlab-git[extra]==0.50" or "name @ https://..."'
        # A URL given without a name may hold a token: it is not repeated.
        what = "a bare URL" if "://" in checked else shown(checked)
        raise Wrong(f"{what} is not a package", hint)
    if found["url"]:
        _check_url(found["name"], found["url"])
    return checked


def name(requirement_text: str) -> str:
    """The normalised name of the package that a requirement is about (PEP 503): "Pandas>=2" -> "pandas"."""
    found = _REQUIREMENT.fullmatch(requirement_text.strip())
    return re.sub(r"[-_.]+", "-", found["name"]).lower() if found else requirement_text


def index(value: Any) -> str:
    """The address of a package index, without a password: it is asked by name in manylab.toml."""
    checked = text(value).strip()
    try:
        parts = urlsplit(checked)
    except ValueError:
        raise Wrong("the address of an index is not a URL") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise Wrong("the address of an index contains a password", "leave it out; it belongs into a netrc file")
    usable = parts.scheme == "file" or (parts.scheme in ("https", "http") and parts.hostname)
    if not usable or not checked.isprintable() or re.search(r"[\s,]", checked):
        raise Wrong(f"{shown(checked)} is not the address of an index", 'such as "https://packages.example.org/simple"')
    return checked


def _check_url(package: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Wrong(f"the address of {package} is not a URL") from None
    if parts.scheme not in _URL_SCHEMES:
        raise Wrong(f"the address of {package} cannot be used", "begin it with " + ", ".join(_URL_SCHEMES))
    # git+ssh names the account on the other side ("git@"), which is no secret; a password always is one.
    if parts.password is not None or (parts.username is not None and parts.scheme != "git+ssh"):
        raise Wrong(
            f"the address of {package} contains a user name or password",
            "leave it out; credentials belong in a netrc file or in mirrors.pypi",
        )
