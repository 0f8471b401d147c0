"""The manylab.toml that is written at the first start: every setting explained, none set. Pure."""

from __future__ import annotations

import textwrap

from manylab.config.values import toml
from manylab.config.walk import NAME, Section, Setting, sections

_TOP = """\
# manylab.toml: what this site should be. Everything here is optional; a line such as
#   #port = 8000
# shows a default: take the # away to change it. Then: `manylab config check`, `manylab plan`, `manylab apply`.
# 文档：本文件描述整个站点，所有设置都可省略；去掉行首的 # 即可修改默认值，然后运行 manylab apply。
"""
_WIDTH = 118
_NAMES = {("envs",): "default", ("limits", "groups"): "students", ("limits", "people"): "alice"}


def example_toml() -> str:
    """The example; it parses to the configuration of an empty file."""
    return _TOP + "".join("\n" + _section(section) for section in sections())


def _section(section: Section) -> str:
    header = "[" + ".".join(section.path).replace(NAME, _NAMES.get(section.path[:-1], "")) + "]"
    if section.path[0] == "limits":  # a table of somebody's limits, unlike the others, is not there by itself
        header = f"#{header}"
    lines = [*_comment(section.doc), f"# {section.zh}", header]
    for setting in section.settings:
        # What was explained for groups a few lines above is not explained again for people.
        lines += _setting(setting)[-1:] if section.path[:2] == ("limits", "people") else _setting(setting)
    if section.path == ("jupyterhub",):
        lines.append('#"JupyterHub.concurrent_spawn_limit" = 50')
    return "\n".join(lines) + "\n"


def _setting(setting: Setting) -> list[str]:
    line = f"#{setting.path[-1]} = {toml(setting.default)}"
    if setting.example is not None:
        line = f"{line:<28}  # such as {toml(setting.example)}"
    return [*_comment(setting.doc), line]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_on_hyphens=False)]
