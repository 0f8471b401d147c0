"""Writes the pages of docs/reference that come from code: `python -m manylab.config.reference [folder]`.

settings.md from the schema, errors.md from base.errors and `advice`, jupyterhub-names.md from `jupyterhub_names`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from manylab.base import errors
from manylab.base.errors import ManylabError
from manylab.config.advice import ADVICE
from manylab.config.jupyterhub_names import NAMES
from manylab.config.table import COUNTS
from manylab.config.values import toml
from manylab.config.walk import Section, Setting, sections


def settings_md() -> str:
    top = (
        "# Settings of manylab.toml\n\n"
        "Every setting is optional; the empty file is a working site. An unknown name or a wrong value is an error,\n"
        "and all of them are reported at once. `manylab config set KEY VALUE` changes one and keeps the file's\n"
        "comments; `manylab config check` only looks; `manylab apply` makes it so.\n\n"
        "*Counts* says since when a changed setting holds, once it is applied. `manylab plan` and `manylab apply`\n"
        "name the running servers that keep an old value. `manylab restart --servers` restarts them, which ends their\n"
        "kernels and terminals.\n"
    )
    return _generated(top + "".join("\n" + _section(section) for section in sections()))


def errors_md() -> str:
    top = (
        "# Error codes\n\n"
        "A command that fails says what happened and what to do next, ends with status 1, and with `--json` prints\n"
        '`{"error": {"code": ..., "message": ..., "hint": ...}}`. The codes are stable: scripts may rely on them.\n'
    )
    parts = []
    for kind in error_types():
        meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        parts.append(f"\n## {kind.code}\n\n{meaning}\n\n**What to do:** {ADVICE[kind.code]}\n")
    return _generated(top + "".join(parts))


def jupyterhub_names_md() -> str:
    top = (
        "# JupyterHub's names and manylab's\n\n"
        "Where somebody who knows `jupyterhub_config.py` finds each setting. `Spawner`, `Authenticator` and `Proxy`\n"
        "stand for their subclasses too. Every other setting of JupyterHub goes into `[jupyterhub]` under its own\n"
        "name; those of this page are refused there, because they would have no effect or take a safeguard away.\n\n"
        "| JupyterHub | manylab | |\n|---|---|---|\n"
    )
    rows = []
    for old in NAMES:
        instead = ", ".join(f"[`{key}`](settings.md#{_anchor(key)})" for key in old.settings) or "deliberately none"
        # A name at the beginning keeps its small letter.
        small = old.why.startswith(("manylab", "dummy"))
        why = old.why if small else old.why[:1].upper() + old.why[1:]
        rows.append(f"| `{old.name}` | {instead} | {why.rstrip('.')}. |\n")
    return _generated(top + "".join(rows))


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_md,
    "errors.md": errors_md,
    "jupyterhub-names.md": jupyterhub_names_md,
}


def error_types() -> list[type[ManylabError]]:
    """Every kind of error, in the order of their definition."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ManylabError)]
    return sorted(kinds, key=lambda kind: kind is not ManylabError)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


def _generated(page: str) -> str:
    return "<!-- Written by `python -m manylab.config.reference`; change the code, not this page. -->\n" + page


def _section(section: Section) -> str:
    lines = [f"## [{'.'.join(section.path)}]", "", " ".join(section.doc.split()), ""]
    if section.path == ("jupyterhub",):
        lines += [
            'Each key is `"Class.name"`, or `name` in a table `[jupyterhub.Class]`; each value is what JSON takes.',
            "What manylab decides itself is refused here: see [JupyterHub's names](jupyterhub-names.md).",
            "",
            "```toml",
            "[jupyterhub]",
            '"JupyterHub.concurrent_spawn_limit" = 50',
            "```",
        ]
    for setting in section.settings:
        lines += _setting(setting)
    return "\n".join(lines).rstrip() + "\n"


def _setting(setting: Setting) -> list[str]:
    example = setting.default if setting.example is None else setting.example
    return [
        f'<a id="{_anchor(setting.key)}"></a>',
        f"### {setting.key}",
        "",
        setting.doc,
        "",
        f"- Accepts: {setting.words}",
        f"- Default: `{toml(setting.default)}`",
        f"- Example: `{setting.path[-1]} = {toml(example)}`",
        f"- Counts: {COUNTS[setting.counts]}",
        f"- Since: {setting.since}",
        "",
    ]


def _anchor(key: str) -> str:
    return key.replace(".", "-").replace("_", "-").lower()


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
