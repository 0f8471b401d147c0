"""Golden cases: configuration -> resources -> plan, as text that can be read.

Each golden/NAME.toml is a manylab.toml. Lines that begin with "#: " say on what machine it is looked at (fields of
Facts, in TOML), and `plan_from = "OTHER"` compares with the site of another case. golden/NAME.txt is what should be
there. After a change of the model, look at what it changed:

    MANYLAB_GOLDEN=write pytest tests/unit/test_model_golden.py; git diff tests/unit/golden
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from manylab.base.layout import Layout, personal_layout, system_layout
from manylab.config.load import parse
from manylab.model import environments
from manylab.model.facts import Facts, Python
from manylab.model.resources import (
    Account,
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
from manylab.model.site import build
from manylab.plan import show
from manylab.plan.diff import diff

GOLDEN = Path(__file__).with_name("golden")
CASES = sorted(path.stem for path in GOLDEN.glob("*.toml"))
# Longer files have tests of their own (the init script, the profile).
LONGEST = 100
# Made up, so that a new lock or version of the code does not change what is here.
INPUTS = {name: (f"{name}-package",) for name in ("proxy", "hub", "server", "scientific")}
NPM = ('{"name": "proxy"}\n', '{"lockfileVersion": 3}\n')


def facts_and_layout(said: dict[str, Any]) -> tuple[Facts, Layout]:
    """The machine of a case: a Debian 12 without systemd, and what the case says of it."""
    usual = {"system": True, "person": "", "home": "", "service": "", "systemd_runs": False, "memory": 8 << 30}
    pythons = (Python("/usr/bin/python3", "3.11.2"), Python("/usr/local/bin/python3.12", "3.12.4"))
    code = {parts: "code-" + "-".join(parts) for parts in environments.OWN_CODE.values()}
    if "tls" in said:
        said["tls"] = tuple(said["tls"])
    facts = Facts(pythons=pythons, source_digest=code, **{**usual, **said})
    return facts, system_layout() if facts.system else personal_layout(Path(facts.home))


def read_case(name: str) -> tuple[str, dict[str, Any]]:
    """The configuration of a case, and what it says of the machine."""
    text = (GOLDEN / f"{name}.toml").read_text(encoding="utf-8")
    said = "\n".join(line.removeprefix("#: ") for line in text.splitlines() if line.startswith("#: "))
    return text, tomlkit.parse(said).unwrap()


def site_of(name: str) -> tuple[Resource, ...]:
    """All resources of a case."""
    text, said = read_case(name)
    said.pop("plan_from", None)
    config = parse(text)
    facts, layout = facts_and_layout(said)
    asked = environments.requests(config, facts, INPUTS)
    locks = {one.name: f"{' '.join(one.requirements)} made up\n" for one in asked}
    built = [environments.build(one, locks[one.name], facts, layout, NPM) for one in asked]
    return build(config, facts, layout, built)


def described(name: str) -> str:
    """The whole golden text of a case."""
    resources = site_of(name)
    parts = ["\n".join(line_of(resource) for resource in resources)]
    _, said = read_case(name)
    if "plan_from" in said:
        before = {resource.key: resource for resource in site_of(said["plan_from"])}
        changes = [change for want in resources if (change := diff(want, before.get(want.key)))]
        parts.append(f"plan, from {said['plan_from']}\n\n{show.as_text(changes)}")
    parts += [f"{resource.path}\n\n{shown(resource)}" for resource in resources if isinstance(resource, File)]
    return ("\n" + "=" * 80 + "\n").join(part.rstrip("\n") + "\n" for part in parts)


def shown(file: File) -> str:
    """A file's content, unless it is long or kept from being shown."""
    count = file.content.count("\n")
    return (
        file.content
        if count <= LONGEST and not file.volatile
        else f"({count} lines)"
        if not file.volatile
        else "(the example)"
    )


def line_of(resource: Resource) -> str:
    """One line: what it is, and everything but its content."""
    more = []
    if isinstance(resource, File | Directory):
        more = [f"{resource.mode:04o}", f"{resource.owner or '-'}:{resource.group or '-'}"]
    if isinstance(resource, File):
        more += [word for word, meant in (("secret", resource.secret), ("volatile", resource.volatile)) if meant]
    elif isinstance(resource, Link):
        more = ["->", resource.target]
    elif isinstance(resource, Group):
        more = ["system"] if resource.system else []
    elif isinstance(resource, Account):
        more = [f"group={resource.group}", f"groups={','.join(resource.groups)}", f"home={resource.home}"]
    elif isinstance(resource, Environment):
        more = [
            str(resource.path),
            resource.python,
            f"lock={resource.lock.strip()!r}",
            f"own_code={','.join(resource.own_code) or '-'}",
        ]
        more += ["npm"] if resource.npm else []
    elif isinstance(resource, Secret):
        more = [f"{path} 0600 {owner or '-'}:{group or '-'}" for path, owner, group, _ in resource.copies]
    elif isinstance(resource, Kernels):
        more = [f"{source.name}:{','.join(source.groups) or '-'}" for source in resource.sources]
    elif isinstance(resource, Line):
        more = [resource.line]
    elif isinstance(resource, KernelLinks):
        more = ["->", str(resource.folder)]
    elif isinstance(resource, Service):
        more = [f"enabled={resource.enabled}", f"running={resource.running}", f"revision={resource.revision or '-'}"]
    return " ".join([resource.key, *more])


@pytest.mark.parametrize("name", CASES)
def test_a_configuration_gives_exactly_these_resources_and_this_plan(name):
    text = described(name)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("MANYLAB_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_text_is_left_of_a_case_that_is_gone():
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == CASES


@pytest.mark.parametrize("name", CASES)
def test_a_site_compared_with_itself_has_nothing_to_change(name):
    assert [diff(resource, resource) for resource in site_of(name)] == [None] * len(site_of(name))


@pytest.mark.parametrize("name", CASES)
def test_no_two_resources_are_the_same_thing(name):
    keys = [resource.key for resource in site_of(name)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", CASES)
def test_what_something_needs_is_made_before_it(name):
    """Folders before what is in them, groups and accounts before what they own, services last."""
    made: set[str] = set()
    known = {resource.path for resource in site_of(name) if isinstance(resource, Directory)}
    for resource in site_of(name):
        made.add(resource.key)
        for path in paths_of(resource):
            nearest = next((parent for parent in path.parents if parent in known), None)
            assert nearest is None or f"directory {nearest}" in made, f"{resource.key} before its folder {nearest}"
        if isinstance(resource, File | Directory):
            for kind, owner in (("account", resource.owner), ("group", resource.group)):
                assert owner in ("", "root") or f"{kind} {owner}" in made, f"{resource.key} before its {kind} {owner}"
        if isinstance(resource, Service):
            assert all(one.key in made for one in site_of(name) if isinstance(one, File)), "services come last"


def paths_of(resource: Resource) -> Iterator[Path]:
    """Where a resource is."""
    if isinstance(resource, Secret):
        yield from (copy[0] for copy in resource.copies)
    elif isinstance(resource, File | Directory | Link | Environment):
        yield resource.path


@pytest.mark.parametrize("name", CASES)
def test_secret_values_are_no_part_of_what_the_model_says(name):
    """Neither in a file that others can read, nor in an argument."""
    for resource in site_of(name):
        if isinstance(resource, File) and resource.mode & 0o007 != 0:
            assert "hunter2" not in resource.content, resource.key
        if isinstance(resource, File) and "hunter2" in resource.content:
            assert resource.secret, f"{resource.key} would be shown by plan"
