"""services.json: what the supervisor is to keep alive, read once and checked whole."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manylab.base.errors import ConfigError
from manylab.system.supervisor import digest_of

VERSION = 1
MODES = ("service", "foreground")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
_MODE = re.compile(r"[0-7]{3,5}")


@dataclass(frozen=True)
class DirectorySpec:
    """A folder that must be there before anything starts; owner and group None: whoever the supervisor is."""

    path: str
    owner: str | None
    group: str | None
    mode: int


@dataclass(frozen=True)
class Service:
    """One program to keep alive; architecture.md tells each field."""

    name: str
    argv: tuple[str, ...]
    account: str | None = None
    groups: tuple[str, ...] = ()
    env_file: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    umask: int = 0o022
    cwd: str = "/"
    writable: tuple[str, ...] = ()
    confine: bool = False
    capabilities: tuple[str, ...] = ()
    ready_socket: str | None = None
    ready_port: int | None = None
    ready_timeout: float = 60.0
    stop_timeout: float = 10.0
    revision: str = ""
    keeps_children: bool = False
    before_stop: dict[str, Any] | None = field(default=None, hash=False)
    before_stop_timeout: float = 60.0
    digest: str = ""


@dataclass(frozen=True)
class Definition:
    """services.json as a whole."""

    state: Path
    logs: Path
    mode: str
    log_size: int
    directories: tuple[DirectorySpec, ...]
    services: tuple[Service, ...]


def load(path: Path) -> Definition:
    """Read services.json; raises ConfigError with every problem when it is not as it should be."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="run `manylab apply`, which writes it") from error
    return parse(data, str(path))


def parse(data: object, source: str) -> Definition:
    """The same from what json.loads returned."""
    reader = _Reader()
    top = reader.mapping(data, source)
    if top.get("version") != VERSION:
        reader.problems.append(f"version must be {VERSION}")
    services = tuple(_service(reader, item, f"services[{i}]") for i, item in enumerate(reader.items(top, "services")))
    names = [service.name for service in services]
    if len(set(names)) != len(names):
        reader.problems.append("two services have the same name")
    definition = Definition(
        state=Path(reader.path(top, "state")),
        logs=Path(reader.path(top, "logs")),
        mode=reader.text(top, "mode", "service"),
        log_size=int(reader.number(top, "log_size", 10 * 1024 * 1024)),
        directories=tuple(
            _directory(reader, item, f"directories[{i}]") for i, item in enumerate(reader.items(top, "directories"))
        ),
        services=services,
    )
    if definition.mode not in MODES:
        reader.problems.append(f"mode must be one of {', '.join(MODES)}")
    if reader.problems:
        raise ConfigError(
            f"{source} is not as it should be: {'; '.join(reader.problems)}",
            hint="run `manylab apply`, which writes it",
            problems=reader.problems,
        )
    return definition


def _directory(reader: _Reader, item: object, where: str) -> DirectorySpec:
    data = reader.mapping(item, where)
    mode = reader.text(data, "mode", "0755", where)
    if not _MODE.fullmatch(mode):
        reader.problems.append(f"{where}.mode must be octal digits")
        mode = "0700"
    return DirectorySpec(
        reader.path(data, "path", where),
        reader.maybe(data, "owner", where),
        reader.maybe(data, "group", where),
        int(mode, 8),
    )


def _service(reader: _Reader, item: object, where: str) -> Service:
    data = reader.mapping(item, where)
    name = reader.text(data, "name", "", where)
    if not _NAME.fullmatch(name):
        reader.problems.append(f"{where}.name must be lowercase letters, digits and hyphens")
    argv = reader.texts(data, "argv", where)
    if not argv or not argv[0].startswith("/"):
        reader.problems.append(f"{where}.argv must begin with the program's absolute path")
    umask = reader.text(data, "umask", "0022", where)
    if not _MODE.fullmatch(umask):
        reader.problems.append(f"{where}.umask must be octal digits")
        umask = "0077"
    environment = data.get("environment") or {}
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        reader.problems.append(f"{where}.environment must be names and texts")
        environment = {}
    port = data.get("ready_port")
    if port is not None and (type(port) is not int or not 0 < port < 65536):
        reader.problems.append(f"{where}.ready_port must be a port number")
        port = None
    question = data.get("before_stop")
    if question is not None and not isinstance(question, dict):
        reader.problems.append(f"{where}.before_stop must be a message")
        question = None
    unknown = set(data) - set(Service.__dataclass_fields__) - {"digest"}
    if unknown:
        reader.problems.append(f"{where}: unknown {', '.join(sorted(unknown))}")
    return Service(
        name=name,
        argv=argv,
        account=reader.maybe(data, "account", where),
        groups=reader.texts(data, "groups", where),
        env_file=reader.maybe(data, "env_file", where),
        environment=tuple(sorted(environment.items())),
        umask=int(umask, 8),
        cwd=reader.text(data, "cwd", "/", where),
        writable=reader.texts(data, "writable", where),
        confine=data.get("confine") is True,
        capabilities=reader.texts(data, "capabilities", where),
        ready_socket=reader.maybe(data, "ready_socket", where),
        ready_port=port,
        ready_timeout=reader.number(data, "ready_timeout", 60.0, where),
        stop_timeout=reader.number(data, "stop_timeout", 10.0, where),
        revision=str(data.get("revision", "")),
        keeps_children=data.get("keeps_children") is True,
        before_stop=question,
        before_stop_timeout=reader.number(data, "before_stop_timeout", 60.0, where),
        digest=digest_of(data),
    )


class _Reader:
    """Takes typed values out of JSON and remembers every problem instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def mapping(self, value: object, where: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.problems.append(f"{where} must be an object")
        return {}

    def items(self, data: dict[str, Any], key: str) -> list[object]:
        value = data.get(key, [])
        if isinstance(value, list):
            return value
        self.problems.append(f"{key} must be a list")
        return []

    def texts(self, data: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
        value = data.get(key) or []
        if isinstance(value, list) and all(isinstance(item, str) and "\0" not in item for item in value):
            return tuple(value)
        self.problems.append(f"{where}.{key} must be a list of texts")
        return ()

    def text(self, data: dict[str, Any], key: str, default: str, where: str = "") -> str:
        value = data.get(key, default)
        if isinstance(value, str):
            return value
        self.problems.append(f"{where}.{key} must be a text")
        return default

    def maybe(self, data: dict[str, Any], key: str, where: str) -> str | None:
        return None if data.get(key) is None else self.text(data, key, "", where)

    def path(self, data: dict[str, Any], key: str, where: str = "") -> str:
        value = self.text(data, key, "", where)
        if not value.startswith("/"):
            self.problems.append(f"{where}.{key} must be an absolute path".lstrip("."))
        return value

    def number(self, data: dict[str, Any], key: str, default: float, where: str = "") -> float:
        value = data.get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return float(value)
        self.problems.append(f"{where}.{key} must be a number above 0".lstrip("."))
        return default
