"""warden.json: what root decided. Read again at each start; believed only when nobody else could have written it."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from manylab.base import names
from manylab.base.errors import BadName, ConfigError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SLICE = re.compile(r"[a-z0-9-]{1,60}\.slice")
_MAX_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class Settings:
    """One site, as the warden sees it. Memory in bytes, cpu in cores, tasks in processes and threads."""

    hub_uid: int
    person_uid: int | None
    group: str
    min_uid: int
    pam_service: str
    web_group: str | None
    socket: Path
    registry: Path
    servers: Path
    python: Path
    command: tuple[str, ...]
    path: tuple[str, ...]
    environment: Mapping[str, str]
    scopes: str | None = None
    slice: str | None = None
    memory: int | None = None
    cpu: float | None = None
    tasks: int | None = None
    log_dir: Path | None = None


_OPTIONAL = {"scopes", "slice", "memory", "cpu", "tasks", "log_dir"}
_KEYS = {f.name for f in fields(Settings)}


def read(path: Path) -> Settings:
    """The settings in this file; raises ConfigError when it is missing, wrong, or not safely root's (or our own)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="run `manylab apply`") from None
    # Looked at through the descriptor, so that what is checked is what is read.
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ConfigError(f"{path} is not a file")
    with os.fdopen(descriptor, "rb") as file:
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{path} belongs to uid {found.st_uid}", hint=f"chown root {path}")
        if found.st_mode & 0o022:
            raise ConfigError(f"{path} can be written by others", hint=f"chmod go-w {path}")
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{path} is larger than {_MAX_FILE} bytes")
    try:
        return parse(json.loads(data))
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON", hint="run `manylab apply`") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint="run `manylab apply`") from None


def parse(data: object) -> Settings:
    """The settings in this JSON value; raises ConfigError naming the first thing that is wrong. Pure."""
    if not isinstance(data, dict):
        raise ConfigError("not an object")
    given = dict(data)
    if given.pop("version", None) != 1:
        raise ConfigError("version is not 1")
    # `apply` renders this file before the accounts exist, so it names them; who they are is looked up here.
    for kind in ("hub", "person"):
        if f"{kind}_account" in given:
            given[f"{kind}_uid"] = _uid(given.pop(f"{kind}_account"))
    if unknown := sorted(given.keys() - _KEYS):
        raise ConfigError(f"unknown key {unknown[0]!r}")
    if missing := sorted(_KEYS - _OPTIONAL - given.keys()):
        raise ConfigError(f"key {missing[0]!r} is missing")
    scopes = given.get("scopes")
    if scopes not in (None, "systemd"):
        raise ConfigError("scopes is neither null nor 'systemd'")
    slice_ = given.get("slice")
    return Settings(
        hub_uid=_number(given, "hub_uid", 0),
        person_uid=None if given["person_uid"] is None else _number(given, "person_uid", 1),
        group=_group(given, "group"),
        min_uid=_number(given, "min_uid", 1),
        pam_service=_match(given["pam_service"], "pam_service", _WORD),
        web_group=None if given["web_group"] is None else _group(given, "web_group"),
        socket=_path(given["socket"], "socket"),
        registry=_path(given["registry"], "registry"),
        servers=_path(given["servers"], "servers"),
        python=_path(given["python"], "python"),
        command=_command(given["command"]),
        path=tuple(str(_path(entry, "path")) for entry in _list(given["path"], "path")),
        environment=_environment(given["environment"]),
        scopes=scopes,
        slice=None if slice_ is None else _match(slice_, "slice", _SLICE),
        memory=None if given.get("memory") is None else _number(given, "memory", 1 << 20),
        cpu=_cpu(given.get("cpu")),
        tasks=None if given.get("tasks") is None else _number(given, "tasks", 1),
        log_dir=None if given.get("log_dir") is None else _path(given["log_dir"], "log_dir"),
    )


def _uid(account: object) -> int | None:
    """The number of an account that is named; None for null. Raises ConfigError when there is no such account."""
    if account is None:
        return None
    try:
        return pwd.getpwnam(names.account(account)).pw_uid if isinstance(account, str) else _refuse(account)
    except (BadName, KeyError):
        return _refuse(account)


def _refuse(account: object) -> int:
    raise ConfigError(f"there is no account {account!r:.60}", hint="run `manylab apply`, which makes it")


def _number(given: Mapping[str, Any], key: str, least: int) -> int:
    value = given[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 63:
        raise ConfigError(f"{key} is not a whole number of at least {least}")
    return value


def _cpu(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.01 <= value <= 10_000:
        raise ConfigError("cpu is not a number of cores")
    return float(value)


def _match(value: object, key: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ConfigError(f"{key} is not a name of the right kind")
    return value


def _group(given: Mapping[str, Any], key: str) -> str:
    try:
        return names.group(given[key])
    except BadName as error:
        raise ConfigError(f"{key}: {error.message}") from None


def _path(value: object, key: str) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise ConfigError(f"{key} is not an absolute path")
    if key == "path" and ":" in value:
        raise ConfigError("an entry of path has a ':'")
    return Path(value)


def _list(value: object, key: str) -> list[str]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(item, str) and "\0" not in item for item in value)
    ):
        raise ConfigError(f"{key} is not a list of texts")
    return value


def _command(value: object) -> tuple[str, ...]:
    program, *arguments = _list(value, "command")
    return (str(_path(program, "command")), *arguments)


def _environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError("environment is not an object")
    for name, text in value.items():
        if _VARIABLE.fullmatch(name) is None or not isinstance(text, str) or "\0" in text:
            raise ConfigError("environment has something that is not a variable")
    return dict(value)
