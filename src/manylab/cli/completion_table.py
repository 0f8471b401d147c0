"""Writes completion.json, which `completion` reads: `python -m manylab.cli.reference`."""

from __future__ import annotations

import enum
import inspect
import json
import typing
from typing import Any, Final

import typer.main

from manylab.cli import reference
from manylab.cli.app import app
from manylab.cli.completion import TABLE
from manylab.cli.doctor.checks import ALL
from manylab.config import walk

# What an argument or option takes, where its metavar is not the kind itself: by command and name of the parameter.
_KINDS: Final = {
    ("user remove", "name"): "PERSON",
    ("user admin", "name"): "PERSON",
    ("install", "operator"): "PERSON",
    ("logs", "what"): "PART",
    ("doctor", "only"): "CHECK",
    ("config get", "key"): "SETTING",
    ("config set", "key"): "SETTING",
    ("config unset", "key"): "SETTING",
}


def text() -> str:
    """The whole of completion.json."""
    parts = ["hub", "proxy", "warden", "servers"]
    settings = [setting.key for setting in walk.settings()]
    values: dict[str, list[str]] = {"PART": parts, "CHECK": list(ALL)}
    values["SETTING"] = [key for key in settings if walk.NAME not in key]
    commands = {item.name: _command(item, values) for item in reference.entries()}
    top: Any = typer.main.get_command(app)
    data = {
        "options": {name: param.help for param in top.params for name in param.opts if name.startswith("--")},
        "commands": commands,
        "values": values,
        "of_environments": {"SETTING": [key for key in settings if key.startswith(f"envs.{walk.NAME}.")]},
    }
    # A line for each command: two changes of different commands do not meet.
    tables = []
    for name, table in data.items():
        lines = [f"{json.dumps(key)}: {json.dumps(one, ensure_ascii=False)}" for key, one in table.items()]
        tables.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(tables) + "\n}\n"


def write() -> None:
    """Write it where it is read."""
    TABLE.write_text(text(), encoding="utf-8")


def _command(item: reference.Entry, values: dict[str, list[str]]) -> dict[str, Any]:
    kinds = typing.get_type_hints(inspect.unwrap(item.parser.callback))
    options, arguments = {}, []
    for param in item.parser.params:
        kind = _kind(item.name, param, kinds.get(param.name), values)
        if param.param_type_name == "argument":
            arguments.append(kind)
        elif not param.hidden:
            for name in (*param.opts, *param.secondary_opts):
                if name.startswith("--"):
                    takes = "" if param.is_flag else kind or "VALUE"
                    options[name] = {"help": reference.first_sentence(param.help or ""), "takes": takes}
    more = any(param.param_type_name == "argument" and param.nargs == -1 for param in item.parser.params)
    described = reference.first_sentence(item.description)
    return {"help": described, "options": options, "arguments": arguments, "more": more}


def _kind(command: str, param: Any, kind: Any, values: dict[str, list[str]]) -> str:
    if found := _KINDS.get((command, param.name)):
        return found
    if command == "env create":
        return ""
    if command.startswith("env ") and param.param_type_name == "argument" and param.name == "name":
        return "ENVIRONMENT"
    for one in (kind, *typing.get_args(kind)):
        if isinstance(one, type) and issubclass(one, enum.Enum):
            values[one.__name__] = [str(member.value) for member in one]
            return one.__name__
        if typing.get_origin(one) is typing.Literal or (typing.get_origin(kind) is typing.Literal):
            name = f"{command} {param.name}"
            values[name] = [str(value) for value in typing.get_args(kind)]
            return name
    return ""
