"""Which settings differ between two configurations, for people. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from manylab.config import hiding, walk
from manylab.config.schema import Config
from manylab.config.values import toml

_ORDER = {name: number for number, name in enumerate(Config.model_fields)}
# Tables whose entries have names of the owner's choice: an entry that is new or gone is one difference.
_TABLES = (("envs",), ("limits", "groups"), ("limits", "people"))


@dataclass(frozen=True)
class Changed:
    """One setting that differs. before, after: as in the file, secrets hidden; None where it is not set."""

    key: str
    before: Any
    after: Any

    @property
    def text(self) -> str:
        """One line: `http.base_url: "/" -> "/wsl"`."""
        if isinstance(self.before, list) and isinstance(self.after, list):
            added = [f"+ {_shown(item)}" for item in self.after if item not in self.before]
            removed = [f"- {_shown(item)}" for item in self.before if item not in self.after]
            if added or removed:
                return f"{self.key}: {', '.join([*added, *removed])}"
        if self.before == self.after:
            return f"{self.key}: another value (hidden)"
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        return {"key": self.key, "before": self.before, "after": self.after}


def changed(before: Config, after: Config) -> tuple[Changed, ...]:
    """Every setting that differs, in the order of the file."""
    return between(before.as_data(), after.as_data())


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Changed, ...]:
    """The same for two configurations in the form of `Config.as_data`, or parts of them."""
    whole = {(*table, name) for table in _TABLES for name in {*_at(before, table)} ^ {*_at(after, table)}}
    old, new = dict(_values(before, whole)), dict(_values(after, whole))
    shown_old, shown_new = (dict(_values(hiding.visible(data), whole)) for data in (before, after))
    return tuple(
        Changed(walk.dotted(path), shown_old.get(path), shown_new.get(path))
        for path in sorted({**old, **new}, key=lambda path: _ORDER.get(path[0], len(_ORDER)))
        if old.get(path) != new.get(path)
    )


def _values(
    table: Mapping[str, Any], whole: Collection[tuple[str, ...]], outer: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value with its path. whole: tables that count as one value, which is what is set in them."""
    for key, value in table.items():
        path = (*outer, str(key))
        if path in whole:
            yield path, {name: one for name, one in value.items() if not _is_default((*path, name), one)}
        elif isinstance(value, Mapping) and outer != ("jupyterhub",):
            yield from _values(value, whole, path)
        else:
            yield path, value


def _at(data: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for key in path:
        data = data.get(key, {})
    return data


def _is_default(path: tuple[str, ...], value: Any) -> bool:
    declared = walk.find(path)
    return declared is not None and declared.default == value


def _shown(value: Any) -> str:
    return "not set" if value is None else toml(value)
