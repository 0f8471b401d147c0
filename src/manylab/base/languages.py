"""What a browser's Accept-Language asks for, of the languages that there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def choose(accept_language: str, offered: Iterable[str], default: str = "en") -> str:
    """The offered language that the browser prefers: choose("de, zh-TW;q=0.8", ["en", "zh_CN"]) -> "zh_CN".

    Another variant of a language is better than another language. `default` where none is asked for.
    """
    names = {name.lower().replace("_", "-"): name for name in sorted(offered)}
    for tag in _tags(accept_language):
        if tag in names:
            return names[tag]
        for lowered, name in names.items():
            if lowered.partition("-")[0] == tag.partition("-")[0]:
                return name
    return default


def _tags(accept_language: str) -> list[str]:
    """Lowered, the most wanted first; without those that are not wanted or cannot be understood (RFC 9110, 12.5.4)."""
    found: list[tuple[float, str]] = []
    for item in accept_language.split(","):
        tag, _, parameter = item.strip().lower().partition(";")
        weight = parameter.strip().removeprefix("q=") or "1"
        try:
            found.append((float(weight), tag.strip().replace("_", "-")))
        except ValueError:
            continue
    return [tag for weight, tag in sorted(found, key=lambda one: -one[0]) if tag and weight > 0]
