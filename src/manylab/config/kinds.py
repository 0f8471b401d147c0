"""The annotated types of the schema: each ties a check, a way to write it back, words for people and JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from manylab.config import addresses, conda_packages, packages, values
from manylab.config.values import Wrong, shown


@dataclass(frozen=True)
class Kind:
    """What a value of this type looks like, for the reference and for the comments of the example."""

    words: str


def freeze(value: Any) -> Any:
    """The same value, unchangeable: lists become tuples and dictionaries become read-only views of a copy."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """The opposite of `freeze`: lists and dictionaries that json.dumps takes."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    return value


def _list(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        opened = isinstance(value, str) and value.startswith("[")
        hint = 'quote each element: ["a", "b"]' if opened else f"put it in brackets: [{shown(value)}]"
        raise Wrong(f"expected a list, got {shown(value)}", hint)
    return tuple(value)


def _with_a_library_path(variables: Mapping[str, str]) -> Mapping[str, str]:
    if values.LIBRARY_PATH in variables:
        values.library_path(variables[values.LIBRARY_PATH])
    return variables


def _no_repeats(items: tuple[str, ...]) -> tuple[str, ...]:
    for index, item in enumerate(items):
        if item in items[:index]:
            raise Wrong(f"{shown(item)} is listed twice", "remove one of the two")
    return items


def _flat_traits(value: Any) -> Any:
    """[jupyterhub.JupyterHub] x = 1 and "JupyterHub.x" = 1 are the same setting."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[Any, Any] = {}
    for key, item in value.items():
        nested = "." not in str(key) and isinstance(item, Mapping)
        pairs = {f"{key}.{trait}": inner for trait, inner in item.items()} if nested else {key: item}
        if twice := [name for name in pairs if name in flat]:
            raise Wrong(f"{twice[0]} is set twice", "once by its dotted name and once in a table; remove one")
        flat.update(pairs)
    return flat


_TRAIT = re.compile(r"[A-Z]\w*\.[a-z_]\w*", re.ASCII)


def _trait_name(value: Any) -> str:
    name = values.text(value)
    if not _TRAIT.fullmatch(name):
        rest = name.removeprefix("c.")
        hint = 'write "Class.name", as in "JupyterHub.concurrent_spawn_limit"'
        if _TRAIT.fullmatch(rest):
            hint = f'did you mean "{rest}"?'
        raise Wrong(f"{shown(name)} is not a JupyterHub setting", hint)
    return name


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise Wrong(f"{shown(value)} cannot be written as JSON", "use a finite number")
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if not isinstance(value, (str, int, float, bool)):
        raise Wrong(f"{shown(value)} cannot be written as JSON", "use text, numbers, true or false, lists and tables")
    return value


def _web(value: Any) -> str:
    return addresses.url(value, ("https", "http"))


def _index(value: Any) -> str:
    return addresses.url(value, ("https", "http", "file"))


def _proxy(value: Any) -> str:
    return addresses.url(value, ("http", "https"))


def _text_or(pattern: str, *words: str) -> dict[str, Any]:
    return {"type": "string", "pattern": "^(?:" + "|".join([pattern, *words]) + ")$"}


def _number_or_word(kind: str, least: float, most: float, *words: str) -> dict[str, Any]:
    return {"anyOf": [{"type": kind, "minimum": least, "maximum": most}, *({"const": word} for word in words)]}


def _or_none(value: Any) -> Any:
    return "none" if value is None else value


def _size_or_word(value: Any) -> Any:
    return value if isinstance(value, str) else values.size_text(value)


def _of_few(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The check of a limit of a group or person, which may also say nothing: "default"."""

    def checked(value: Any) -> Any:
        if value == "default":
            return value
        try:
            return check(value)
        except Wrong as wrong:
            raise Wrong(wrong.message, wrong.hint + ', or "default"') from None

    return checked


_DURATION = r"(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?"
_SIZE_JSON = WithJsonSchema(_text_or(r"\d+(\.\d+)?[KMGTkmgt]", "none"))
_STRING = WithJsonSchema({"type": "string"})


def _kind(words: str, check: Callable[[Any], Any], schema: WithJsonSchema = _STRING) -> tuple[Any, ...]:
    return (Kind(words), BeforeValidator(check), schema)


Line = Annotated[str, Kind("text"), BeforeValidator(values.line), _STRING]
LineOrNothing = Annotated[str, Kind("text"), BeforeValidator(values.line_or_nothing), _STRING]
Memory = Annotated[
    int | None,
    Kind('a size such as "512M" or "2G" (units of 1024), or "none"'),
    BeforeValidator(values.memory),
    PlainSerializer(values.size_text, return_type=str),
    _SIZE_JSON,
]
Cpu = Annotated[
    float | None,
    Kind('a number of processors such as 2 or 0.5, or "none"'),
    BeforeValidator(values.cpu),
    PlainSerializer(_or_none, return_type=float | str),
    WithJsonSchema(_number_or_word("number", 0.05, 1024, "none")),
]
Tasks = Annotated[
    int | None,
    Kind('a whole number, or "none"'),
    BeforeValidator(values.tasks),
    PlainSerializer(_or_none, return_type=int | str),
    WithJsonSchema(_number_or_word("integer", 128, 4_194_304, "none")),
]
TotalMemory = Annotated[
    int | str | None,
    Kind('"auto", a size such as "24G", or "none"'),
    BeforeValidator(values.total_memory),
    PlainSerializer(_size_or_word, return_type=str),
    WithJsonSchema(_text_or(r"\d+(\.\d+)?[KMGTkmgt]", "none", "auto")),
]
OwnMemory = Annotated[
    int | str | None,
    Kind('a size such as "512M" or "2G", "none", or "default"'),
    BeforeValidator(_of_few(values.memory)),
    PlainSerializer(_size_or_word, return_type=str),
    WithJsonSchema(_text_or(r"\d+(\.\d+)?[KMGTkmgt]", "none", "default")),
]
OwnCpu = Annotated[
    float | str | None,
    Kind('a number of processors such as 2 or 0.5, "none", or "default"'),
    BeforeValidator(_of_few(values.cpu)),
    PlainSerializer(_or_none, return_type=float | str),
    WithJsonSchema(_number_or_word("number", 0.05, 1024, "none", "default")),
]
OwnTasks = Annotated[
    int | str | None,
    Kind('a whole number, "none", or "default"'),
    BeforeValidator(_of_few(values.tasks)),
    PlainSerializer(_or_none, return_type=int | str),
    WithJsonSchema(_number_or_word("integer", 128, 4_194_304, "none", "default")),
]
_SECONDS_OUT = PlainSerializer(values.duration_text, return_type=str)
_DURATION_WORDS = 'a duration such as "90s" or "1h30m"'
IdleTimeout = Annotated[
    int | None,
    Kind(_DURATION_WORDS + ', at least "10m", or "never"'),
    BeforeValidator(values.idle_timeout),
    _SECONDS_OUT,
    WithJsonSchema(_text_or(_DURATION, "never")),
]
TrashAge = Annotated[
    int | None,
    Kind(_DURATION_WORDS + ', or "never"'),
    BeforeValidator(values.forever),
    _SECONDS_OUT,
    WithJsonSchema(_text_or(_DURATION, "never")),
]
StartTimeout = Annotated[
    int,
    Kind(_DURATION_WORDS + ', "10s" to "1h"'),
    BeforeValidator(values.start_timeout),
    _SECONDS_OUT,
    WithJsonSchema(_text_or(_DURATION)),
]
MembersCheck = Annotated[
    int,
    Kind(_DURATION_WORDS + ', "1s" to "1h"'),
    BeforeValidator(values.members_check),
    _SECONDS_OUT,
    WithJsonSchema(_text_or(_DURATION)),
]
Host = Annotated[str, Kind("an IP address or a hostname"), BeforeValidator(addresses.host), _STRING]
BaseUrl = Annotated[
    str,
    Kind('a path such as "/wsl"'),
    BeforeValidator(addresses.base_url),
    PlainSerializer(addresses.base_url_text, return_type=str),
    _STRING,
]
Page = Annotated[str, Kind('a path such as "/lab"'), BeforeValidator(addresses.page), _STRING]
File = Annotated[str, Kind("the absolute path of a file"), BeforeValidator(values.absolute_path), _STRING]
Authenticator = Annotated[
    str,
    Kind(", ".join(f'"{name}"' for name in values.AUTHENTICATORS) + ', or a class as "package.module:Class"'),
    BeforeValidator(values.authenticator),
    WithJsonSchema({"type": "string", "examples": list(values.AUTHENTICATORS)}),
]
Group = Annotated[str, Kind("the name of a group"), BeforeValidator(values.group), _STRING]
Account = Annotated[str, Kind("the name of an account"), BeforeValidator(values.account), _STRING]
Accounts = Annotated[
    tuple[Account, ...],
    Kind("a list of account names"),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
Groups = Annotated[
    tuple[Group, ...],
    Kind("a list of groups"),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
PythonVersion = Annotated[
    str, Kind('versions of Python such as ">=3.10"'), BeforeValidator(values.python_version), _STRING
]
Requirement = Annotated[str, Kind("a package"), BeforeValidator(packages.requirement), _STRING]
Packages = Annotated[
    tuple[Requirement, ...],
    Kind('a list of packages such as "numpy>=2"'),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
AnyPackages = Annotated[
    tuple[Annotated[str, Kind("a package"), BeforeValidator(conda_packages.requirement_or_spec), _STRING], ...],
    Kind('a list of packages such as "numpy>=2"'),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
Indexes = Annotated[
    tuple[Annotated[str, Kind("the address of an index"), BeforeValidator(packages.index), _STRING], ...],
    Kind("a list of addresses"),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
Channel = Annotated[str, Kind("a channel"), BeforeValidator(conda_packages.channel), _STRING]
Channels = Annotated[
    tuple[Channel, ...],
    Kind('a list of channels such as "conda-forge"'),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
ChannelMirrors = Annotated[
    Mapping[Channel, Annotated[str, BeforeValidator(_index), _STRING]],
    Kind("a table of channels and addresses"),
    AfterValidator(freeze),
    PlainSerializer(dict, return_type=dict[str, str]),
]
Module = Annotated[str, Kind("a module"), BeforeValidator(values.module), _STRING]
Modules = Annotated[
    tuple[Module, ...],
    Kind("a list of modules"),
    BeforeValidator(_list),
    AfterValidator(_no_repeats),
    PlainSerializer(list, return_type=list[str]),
]
EnvironmentName = Annotated[str, BeforeValidator(values.environment_name)]
EnvironmentSetting = Annotated[
    str, Kind("the name of an environment"), BeforeValidator(values.environment_name), _STRING
]
GroupName = Annotated[str, BeforeValidator(values.group)]
PersonName = Annotated[str, BeforeValidator(values.account)]
VariableName = Annotated[str, BeforeValidator(values.variable)]
VariableText = Annotated[str, BeforeValidator(values.text)]
Variables = Annotated[
    Mapping[VariableName, VariableText],
    Kind("a table of names and texts"),
    AfterValidator(freeze),
    PlainSerializer(dict, return_type=dict[str, str]),
]
EnvironmentVariables = Annotated[
    Mapping[Annotated[str, BeforeValidator(values.variable_of_environment)], VariableText],
    Kind("a table of names and texts"),
    AfterValidator(_with_a_library_path),
    AfterValidator(freeze),
    PlainSerializer(dict, return_type=dict[str, str]),
]
Index = Annotated[str, Kind("a URL"), BeforeValidator(_index), _STRING]
Web = Annotated[str, Kind("a URL"), BeforeValidator(_web), _STRING]
WebProxy = Annotated[str, Kind("a URL"), BeforeValidator(_proxy), _STRING]
Database = Annotated[str, Kind("SQLAlchemy's URL of a database"), BeforeValidator(addresses.database), _STRING]
TraitName = Annotated[str, BeforeValidator(_trait_name)]
TraitValue = Annotated[Any, BeforeValidator(_json_value)]
Traits = Annotated[
    Mapping[TraitName, TraitValue],
    Kind("a table of JupyterHub's settings"),
    BeforeValidator(_flat_traits),
    AfterValidator(freeze),
    PlainSerializer(thaw, return_type=dict[str, Any]),
]
