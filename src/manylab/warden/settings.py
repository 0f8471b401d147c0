"""warden.json: what root decided. Read again at each start; believed only when nobody else could have written it."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from manylab.base import names
from manylab.base.errors import BadName, ConfigError

# What one table of limits says: an absent key is not said, None is no limit.
Said: TypeAlias = Mapping[str, "int | float | None"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SLICE = re.compile(r"[a-z0-9-]{1,60}\.slice")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,200}(:[A-Za-z_][A-Za-z0-9_]{0,60})?")
_MAX_FILE = 1 << 20  # bytes
_NURSERY_KEYS = {"name", "kind", "command", "modules", "environment"}


@dataclass(frozen=True)
class Nursery:
    """One nursery that should be there. command: the interpreter and nursery.py. modules: what it imports."""

    name: str
    kind: str
    command: tuple[str, ...]
    modules: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Settings:
    """One site, as the warden sees it. Memory in bytes, cpu in cores, tasks in processes and threads.

    entry: the function that is a server, for a warm start; command: the program, for a cold one. private: the folder
    of everybody's own /tmp, None where people share one. configured: see `registry.Entry`.
    """

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
    entry: str = "manylab.lab.server:run"
    nursery_uid: int | None = None
    nursery_run: Path | None = None
    nurseries: tuple[Nursery, ...] = ()
    private: Path | None = None
    limits: Mapping[str, Mapping[str, Said]] = field(default_factory=dict)
    total: Mapping[str, int | None] = field(default_factory=dict)
    configured: Mapping[str, Any] = field(default_factory=dict)


_OPTIONAL = {
    *("scopes", "slice", "memory", "cpu", "tasks", "log_dir", "entry", "nursery_uid", "nursery_run", "nurseries"),
    *("private", "limits", "total", "configured"),
}
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
    for kind in ("hub", "person", "nursery"):
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
        log_dir=_path_or_none(given, "log_dir"),
        entry=_match(given.get("entry", Settings.entry), "entry", _FUNCTION),
        nursery_uid=None if given.get("nursery_uid") is None else _number(given, "nursery_uid", 1),
        nursery_run=_path_or_none(given, "nursery_run"),
        nurseries=tuple(_nursery(item) for item in given.get("nurseries") or ()),
        private=_path_or_none(given, "private"),
        limits=parse_limits(given.get("limits")),
        total=_total(given.get("total")),
        configured=_object(given.get("configured") or {}),
    )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError("configured is not an object")
    return value


def _path_or_none(given: Mapping[str, Any], key: str) -> Path | None:
    return None if given.get(key) is None else _path(given[key], key)


def _nursery(item: object) -> Nursery:
    if not isinstance(item, dict) or not {"name", "kind", "command"} <= item.keys() <= _NURSERY_KEYS:
        raise ConfigError("nurseries is not a list of nurseries")
    if item["kind"] not in ("server", "kernel"):
        raise ConfigError("a nursery is neither for servers nor for kernels")
    modules = [_match(name, "a module", _FUNCTION) for name in item.get("modules") or ()]
    environment = tuple(sorted(_environment(item.get("environment") or {}).items()))
    name = _match(item["name"], "the name of a nursery", _WORD)
    return Nursery(name, item["kind"], _command(item["command"]), tuple(modules), environment)


def parse_limits(data: object) -> dict[str, dict[str, Said]]:
    """{"groups": {name: {"memory": ...}}, "people": {...}}; an absent key is not said, null is no limit."""
    found: dict[str, dict[str, Said]] = {"groups": {}, "people": {}}
    if data is None:
        return found
    if not isinstance(data, dict) or not data.keys() <= found.keys():
        raise ConfigError("limits is not an object of groups and people")
    for kind, entries in data.items():
        if not isinstance(entries, dict):
            raise ConfigError(f"limits of {kind} is not an object")
        for name, said in entries.items():
            if not isinstance(said, dict) or not said.keys() <= {"memory", "cpu", "tasks"}:
                raise ConfigError(f"limits of {name!r:.40} are not memory, cpu and tasks")
            found[kind][name] = {
                key: _cpu(value) if key == "cpu" else None if value is None else _number(said, key, 1)
                for key, value in said.items()
            }
    return found


def _total(data: object) -> dict[str, int | None]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError("total is not an object")
    return {key: None if value is None else _number(data, key, 1) for key, value in data.items()}


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
