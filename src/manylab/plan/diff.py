"""Compares one resource that should be with what was observed of it. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from manylab.model.locked import versions
from manylab.model.resources import (
    Account,
    Copy,
    Directory,
    Environment,
    File,
    Group,
    KernelLinks,
    Kernels,
    Line,
    Link,
    Resource,
    Secret,
    Service,
)


@dataclass(frozen=True)
class Change:
    """What has to be done to one resource.

    action: "create", "update" or "remove". why: one line per difference, for people. key: of the resource.
    """

    key: str
    action: str
    why: tuple[str, ...] = ()


def diff(want: Resource, have: Resource | None) -> Change | None:
    """The change that makes `have` into `want`, or None when nothing is to be done."""
    if have is None:
        return Change(want.key, "create", _created(want))
    why = tuple(_differences(want, have))
    return Change(want.key, "update", why) if why else None


def _created(want: Resource) -> tuple[str, ...]:
    if isinstance(want, Environment):
        count = len(versions(want.lock, want.python_minor))
        return (f"{count} packages",)
    return ()


def _differences(want: Resource, have: Resource) -> list[str]:
    if isinstance(want, File) and isinstance(have, File):
        found = _ownership(want, have)
        if want.content != have.content and not want.volatile:
            found += ["content differs"] if want.secret else _text(have.content, want.content)
        return found
    if isinstance(want, Directory) and isinstance(have, Directory):
        strangers = want.contents and not have.contents
        return [*_ownership(want, have), *(["something in it belongs to somebody else"] if strangers else [])]
    if isinstance(want, Copy):
        return [] if have == want else [f"is not the same as {want.target}"]
    if isinstance(want, Link) and isinstance(have, Link):
        return [f"points to {have.target}, should be {want.target}"] if have.target != want.target else []
    if isinstance(want, Account) and isinstance(have, Account):
        return [
            *_one("group", have.group, want.group),
            *(f"not in group {name}" for name in want.groups if name not in have.groups),
        ]
    if isinstance(want, Environment) and isinstance(have, Environment):
        return [f"is {have.digest or 'incomplete'}, should be {want.digest}"] if have.digest != want.digest else []
    if isinstance(want, Kernels) and isinstance(have, Kernels):
        return [f"{name} is not as its package has it" for name in have.differ]
    if isinstance(want, Line) and isinstance(have, Line):
        return [] if have == want else [f"+ {want.line}"]
    if isinstance(want, KernelLinks) and isinstance(have, KernelLinks):
        return [f"the link to {name} is missing, or leads nowhere" for name in have.differ]
    if isinstance(want, Service) and isinstance(have, Service):
        return [
            *_one("enabled", have.enabled, want.enabled),
            *_one("running", have.running, want.running),
            *(["runs with what was before this change"] if have.running and have.revision != want.revision else []),
        ]
    if isinstance(want, Secret) and isinstance(have, Secret):
        return [] if want.copies == have.copies else ["a copy is missing, differs, or can be read by others"]
    if isinstance(want, Group) and isinstance(have, Group):
        return []
    return ["is something else"]


def _ownership(want: File | Directory, have: File | Directory) -> list[str]:
    found = []
    if want.mode != have.mode:
        found.append(f"mode is {have.mode:04o}, should be {want.mode:04o}")
    if want.owner:
        found += _one("owner", have.owner, want.owner)
    if want.group:
        found += _one("group", have.group, want.group)
    return found


def _one(name: str, have: object, want: object) -> list[str]:
    return [f"{name} is {_said(have)}, should be {_said(want)}"] if have != want else []


def _said(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _text(have: str, want: str, most: int = 40) -> list[str]:
    """A unified diff without its heading, at most `most` lines."""
    lines = list(difflib.unified_diff(have.splitlines(), want.splitlines(), lineterm="", n=1))[2:]
    shown = [line for line in lines if not line.startswith("@@")]
    return shown[:most] + ([f"... {len(shown) - most} more lines"] if len(shown) > most else [])
