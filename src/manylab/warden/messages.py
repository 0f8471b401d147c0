"""What can be asked of the warden, and how it answers. Pure: one line of JSON in, one line of JSON out.

Every message is a frozen dataclass that checks its own fields; there is no other way into the warden.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias

from manylab.base import names
from manylab.base.errors import BadName, Refused

MAX_QUESTION: Final = 64 * 1024  # bytes, the newline included
MAX_PASSWORD: Final = 1024  # characters
MAX_LOGIN: Final = 256  # characters of what somebody typed as their name
MAX_ENVIRONMENT: Final = 32 * 1024  # bytes, names and values together

# What the hub may set in a person's server. Closed: nothing that changes which program runs or what it loads.
_ENVIRONMENT_NAME = re.compile(r"JUPYTERHUB_[A-Z0-9_]{1,60}|JPY_[A-Z0-9_]{1,60}|LANG|LANGUAGE|LC_[A-Z]{1,20}|TZ")

Reason: TypeAlias = Literal[
    "wrong",
    "locked",
    "expired",
    "password-expired",
    "not-member",
    "system-account",
    "unknown",
    "busy",
    "error",
    "bad-message",
    "forbidden",
    "no-home",
    "home-closed",
    "home-silent",
    "no-session",
    "session-silent",
    "start-failed",
]


class Refusal(Refused):
    """The answer is no. `reason` is for programs, `message` one plain sentence without any secret."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason=reason)
        self.reason: Reason = reason


class BadMessage(Refusal):
    """Not a message of this vocabulary. The text never repeats what was sent: it may hold a password."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-message", message)


def _text(value: object, what: str, limit: int) -> str:
    if not isinstance(value, str):
        raise BadMessage(f"{what} is not text")
    if len(value) > limit:
        raise BadMessage(f"{what} is longer than {limit} characters")
    if "\0" in value:
        raise BadMessage(f"{what} contains a NUL")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # JSON's "\ud800" is half a character
        raise BadMessage(f"{what} is not valid Unicode") from None
    return value


def _target(user: object, server: object) -> None:
    """An account's name (see names.folder for paths and units) and a server's name."""
    try:
        names.account(_text(user, "user", MAX_LOGIN))
        names.server(_text(server, "server", 30))
    except BadName as error:
        raise BadMessage(error.message) from None


@dataclass(frozen=True)
class Authenticate:
    """Is this the password of this account? `user` is whatever was typed on the login form."""

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        _text(self.user, "user", MAX_LOGIN)
        _text(self.password, "password", MAX_PASSWORD)


@dataclass(frozen=True)
class Start:
    """Start a server as this person; which program, with which limits, is the settings' business."""

    user: str
    server: str
    env: Mapping[str, str] = field(repr=False)  # holds the server's API token

    def __post_init__(self) -> None:
        _target(self.user, self.server)
        if not isinstance(self.env, dict):
            raise BadMessage("env is not an object")
        total = 0
        for name, value in self.env.items():
            if not isinstance(name, str) or _ENVIRONMENT_NAME.fullmatch(name) is None:
                raise BadMessage("env has a name that is not on the list")
            text = _text(value, "a value in env", MAX_ENVIRONMENT)
            if "\n" in text or "\r" in text:
                raise BadMessage("a value in env has more than one line")
            total += len(name) + len(text.encode("utf-8")) + 2
        if total > MAX_ENVIRONMENT:
            raise BadMessage(f"env is larger than {MAX_ENVIRONMENT} bytes")


@dataclass(frozen=True)
class Stop:
    """End a server and everything it started."""

    user: str
    server: str
    now: bool

    def __post_init__(self) -> None:
        _target(self.user, self.server)
        if not isinstance(self.now, bool):
            raise BadMessage("now is neither true nor false")


@dataclass(frozen=True)
class Status:
    """Is this server running?"""

    user: str
    server: str

    def __post_init__(self) -> None:
        _target(self.user, self.server)


@dataclass(frozen=True)
class List:
    """Which servers are running?"""


@dataclass(frozen=True)
class StopAll:
    """End every server."""


@dataclass(frozen=True)
class Place:
    """By a nursery's child: put me beside the server whose main process is `caller`, of the account `uid`."""

    caller: int
    uid: int

    def __post_init__(self) -> None:
        for number in (self.caller, self.uid):
            if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 32:
                raise BadMessage("caller and uid are not numbers")


Message: TypeAlias = Authenticate | Start | Stop | Status | List | StopAll

_KINDS: Final[Mapping[str, type[Message]]] = {
    "authenticate": Authenticate,
    "start": Start,
    "stop": Stop,
    "status": Status,
    "list": List,
    "stop-all": StopAll,
}


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with a key twice means different things to different readers, so it means nothing here."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadMessage("a field is given twice")
    return found


def parse(line: bytes) -> Message:
    """The hub's message in one line of JSON; raises BadMessage for anything else."""
    message: Message = _parse(line, _KINDS)
    return message


def parse_place(line: bytes) -> Place:
    """The one message of a nursery's child; raises BadMessage for anything else."""
    place: Place = _parse(line, {"place": Place})
    return place


def _parse(line: bytes, kinds: Mapping[str, type[Any]]) -> Any:
    if len(line) > MAX_QUESTION:
        raise BadMessage(f"the question is larger than {MAX_QUESTION} bytes")
    try:
        # RecursionError: "[[[[..." is deeper than Python follows. ValueError covers bad UTF-8, bad JSON, huge numbers.
        data = json.loads(line.decode("utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise BadMessage("the question is not one line of JSON") from None
    if not isinstance(data, dict):
        raise BadMessage("the question is not an object")
    do = data.pop("do", None)
    kind = kinds.get(do) if isinstance(do, str) else None
    if kind is None:
        raise BadMessage("do is not one of " + ", ".join(kinds))
    expected = {f.name for f in fields(kind)}
    if data.keys() != expected:
        raise BadMessage(f"{do} has exactly these fields: {', '.join(sorted(expected)) or 'none'}")
    return kind(**data)


def done(**facts: Any) -> dict[str, Any]:
    """The answer yes."""
    return {"ok": True, **facts}


def refused(refusal: Refusal) -> dict[str, Any]:
    """The answer no."""
    return {"ok": False, "reason": refusal.reason, "message": refusal.message}


def encode(answer: Mapping[str, Any]) -> bytes:
    """One line, plain ASCII."""
    return json.dumps(answer).encode("ascii") + b"\n"
