"""The schema as a list: what the example, the reference, the suggestions and the editor go through. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

from pydantic.fields import FieldInfo

from manylab.config.environments import Environment
from manylab.config.kinds import Kind
from manylab.config.limits import GroupLimits, Limits, PersonLimits
from manylab.config.schema import Config
from manylab.config.table import Counts, Table
from manylab.config.values import shown

Path = tuple[str | int, ...]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Stands for what the file's owner named, in the paths of the settings of [envs.NAME] and their like.
NAME = "NAME"
# Tables of tables: what is in each.
_NAMED: Mapping[tuple[str, ...], type[Table]] = {
    ("envs",): Environment,
    ("limits", "groups"): GroupLimits,
    ("limits", "people"): PersonLimits,
}


@dataclass(frozen=True)
class Setting:
    """One declaration, in the form of the file: `default` and `example` are what one would write."""

    path: tuple[str, ...]
    words: str
    default: Any
    doc: str
    example: Any
    since: str
    secret: bool
    counts: Counts

    @property
    def key(self) -> str:
        return dotted(self.path)


@dataclass(frozen=True)
class Section:
    """A table of the file with its settings."""

    path: tuple[str, ...]
    doc: str
    zh: str
    settings: tuple[Setting, ...]


def dotted(path: Path) -> str:
    """A path as text: people.admins[1], jupyterhub."JupyterHub.port"."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else shown(part))
    return text


def sections() -> tuple[Section, ...]:
    """Every table in the order of the file; [jupyterhub] has no settings of its own."""
    found = []
    for name, field in Config.model_fields.items():
        model = field.annotation
        named = [(*path, NAME) for path in _NAMED if path[0] == name]
        if named:
            found += [_section(path, _NAMED[path[:-1]]) for path in named]
        elif isinstance(model, type) and issubclass(model, Table):
            found.append(_section((name,), model))
        else:
            found.append(Section((name,), str(field.description), "其他：按原名设置 JupyterHub 的任何选项", ()))
    return tuple(found)


def settings() -> Iterator[Setting]:
    for section in sections():
        yield from section.settings


def tables() -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """The keys of each table; () is the file itself."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {(): tuple(Config.model_fields)}
    for section in sections():
        known[section.path] = tuple(setting.path[-1] for setting in section.settings)
    known["limits",] = tuple(Limits.model_fields)
    return known


def find(path: Path) -> Setting | None:
    """The declaration of a path such as ("envs", "course", "packages"); None when there is none."""
    wanted = general(path)
    return next((setting for setting in settings() if setting.path == wanted), None)


def counts(path: Path) -> Counts:
    """Since when a change of this setting, or of something in it, holds for what runs."""
    if path[0] == "jupyterhub":
        return "server" if len(path) > 1 and of_spawner(str(path[1])) else "at once"
    lengths = range(len(path), 0, -1)
    return next((found.counts for length in lengths if (found := find(path[:length]))), "at once")


def of_spawner(trait: str) -> bool:
    """Whether this setting of JupyterHub is given to servers when they start: Spawner.default_url."""
    return trait.partition(".")[0].endswith("Spawner")


def general(path: Path) -> tuple[str, ...]:
    """The path with NAME in place of a name that the file's owner chose: envs.course.python -> envs.NAME.python."""
    parts = tuple(str(part) for part in path)
    for table in _NAMED:
        if parts[: len(table)] == table and len(parts) > len(table):
            return (*table, NAME, *parts[len(table) + 1 :])
    return parts


def _section(path: tuple[str, ...], model: type[Table]) -> Section:
    found = tuple(_setting((*path, name), field) for name, field in model.model_fields.items())
    return Section(path, str(model.__doc__), model.zh, found)


def _setting(path: tuple[str, ...], field: FieldInfo) -> Setting:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Setting(
        path=path,
        words=_words(field),
        default=field.default,
        doc=str(field.description),
        example=field.examples[0] if field.examples else None,
        since=str(extra.get("since", "")),
        secret=bool(extra.get("secret", False)),
        counts=cast(Counts, extra.get("counts", "at once")),
    )


def _words(field: FieldInfo) -> str:
    """What a value looks like, in words for people."""
    for item in field.metadata:
        if isinstance(item, Kind):
            return item.words
    if get_origin(field.annotation) is Literal:
        return ", ".join(shown(value) for value in get_args(field.annotation))
    return "true or false" if field.annotation is bool else "a value"
