"""Names of people, groups, servers and environments: which texts can be one, and how a path or unit holds one. Pure.

Every name that reaches a command line, a path or a unit name has been through one of these functions.
"""

from __future__ import annotations

import base64
import hashlib
import re

from manylab.base.errors import BadName

# Which accounts there are is the machine's to say (files, LDAP, sssd, winbind). Here only what no machine can mean: the
# separators of passwd and group files, what systemd refuses even in its relaxed mode (valid_user_group_name in its
# user-util.c), a "-" first, which programs take for an option, and the length of LOGIN_NAME_MAX without its NUL.
_SEPARATORS = frozenset("/:,")
_LONGEST = 255  # bytes
_ACCOUNT_RULE = (
    "use 1 to 255 bytes of printable text without '/', ':' and ',', that does not begin with '-' and neither begins "
    "nor ends with a space"
)
# JupyterHub 6's rule for named servers: 1 to 30 of lowercase letters, digits and single hyphens.
_SERVER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,29}")
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,29}")

# A folder of 32 characters leaves room for what is below it: the path of a unix socket has at most 107 bytes.
_FOLDER = 32
_ASIS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ESCAPE = re.compile(r"\.([0-9a-f]{2})")
_HEAD = 8  # characters of a name that is too long


def _refused(kind: str, text: object, rule: str) -> BadName:
    return BadName(f"{text!r:.80} cannot be the name of {kind}", hint=rule)


def _checked(kind: str, text: str, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise _refused(kind, text, rule)
    return text


def _of_the_machine(kind: str, text: str) -> str:
    good = (
        isinstance(text, str)
        and text.isprintable()  # neither control characters nor half a surrogate pair, so it is valid UTF-8
        and text == text.strip()
        and text.strip(".") != ""
        and not text.startswith("-")
        and not _SEPARATORS & set(text)
        and len(text.encode()) <= _LONGEST
    )
    if not good:
        raise _refused(kind, text, _ACCOUNT_RULE)
    return text


def account(text: str) -> str:
    """The text, if a machine can have an account of this name; raises BadName otherwise."""
    return _of_the_machine("an account", text)


def group(text: str) -> str:
    """The text, if a machine can have a group of this name; raises BadName otherwise."""
    return _of_the_machine("a group", text)


def folder(account_name: str) -> str:
    """What stands for an account in paths, unit names and control groups: at most 32 of letters, digits, "_-.".

    Letters, digits, "_" and "-" stand for themselves; every other byte is "." and two hexadecimal digits. What would be
    longer is the beginning, ".-" (which is in no other) and 110 bits of the name's SHA-256. No two names have the same.
    """
    raw = account(account_name).encode()
    escaped = "".join(chr(byte) if chr(byte) in _ASIS else f".{byte:02x}" for byte in raw)
    if len(escaped) <= _FOLDER:
        return escaped
    digest = base64.b32encode(hashlib.sha256(raw).digest()).decode().lower()
    return f"{escaped[:_HEAD]}.-{digest[: _FOLDER - _HEAD - 2]}"


def account_of(folder_name: str) -> str | None:
    """The account that `folder` made this of; None for a shortened one, and for what it never makes."""
    try:
        name = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), folder_name).encode("latin-1").decode()
        return name if folder(name) == folder_name else None
    except (UnicodeError, BadName):
        return None


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
