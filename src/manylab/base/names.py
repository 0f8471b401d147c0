"""Names of people, groups, servers and environments: which texts can be one. Pure.

Every name that reaches a command line, a path or a unit name has been through one of these functions.
"""

from __future__ import annotations

import re

from manylab.base.errors import BadName

# useradd's own rule in Debian (NAME_REGEX of adduser, and shadow's is_valid_name) with its length of 32.
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_GROUP = _ACCOUNT
# JupyterHub 6's rule for named servers: 1 to 30 of lowercase letters, digits and single hyphens.
_SERVER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,29}")
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,29}")


def _checked(kind: str, text: str, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise BadName(f"{text!r:.80} cannot be the name of {kind}", hint=rule)
    return text


def account(text: str) -> str:
    """The text, if it can be a local account's name; raises BadName otherwise."""
    return _checked(
        "an account",
        text,
        _ACCOUNT,
        "use 1 to 32 lowercase letters, digits, '-' and '_', beginning with a letter or '_'",
    )


def group(text: str) -> str:
    """The text, if it can be a local group's name; raises BadName otherwise."""
    return _checked(
        "a group",
        text,
        _GROUP,
        "use 1 to 32 lowercase letters, digits, '-' and '_', beginning with a letter or '_'",
    )


def server(text: str) -> str:
    """The text, if it is "" (the default server) or can be a named server's name of at most 30 characters."""
    if text == "":
        return text
    checked = _checked("a server", text, _SERVER, "use 1 to 30 lowercase letters, digits and single hyphens")
    if len(checked) > 30:
        raise BadName(f"{checked!r} is too long for the name of a server", hint="use at most 30 characters")
    return checked


def environment(text: str) -> str:
    """The text, if it can be an environment's name; raises BadName otherwise."""
    return _checked(
        "an environment",
        text,
        _ENVIRONMENT,
        "use 1 to 30 lowercase letters, digits and hyphens, beginning with a letter",
    )


def server_folder(server_name: str) -> str:
    """The folder of a server inside its person's runtime folder; "_" can be no named server's name."""
    return server(server_name) or "_"
