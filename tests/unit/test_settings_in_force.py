"""Which settings differ, since when they count, and where a site's earlier addresses lead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from manylab.apply import in_force
from manylab.base.errors import ConfigError
from manylab.base.layout import system_layout
from manylab.config import edit, walk
from manylab.config.load import parse
from manylab.config.table import COUNTS
from manylab.config.values import toml
from manylab.model import hub as model_hub
from manylab.model.facts import Facts
from manylab.model.resources import Environment
from manylab.plan.kept import Kept, as_text
from manylab.plan.settings import changed
from manylab.system import accounts

SERVER = {"server": SimpleNamespace(digest="g1")}


def said(before: str, after: str) -> list[str]:
    return [one.text for one in changed(parse(before), parse(after))]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("", '[http]\nbase_url = "/wsl"\n', 'http.base_url: "/" -> "/wsl"'),
        ('[servers]\nmemory = "2G"\n', "", 'servers.memory: "2G" -> "none"'),
        ("", '[servers]\nenvironment = {A = "1"}\n', 'servers.environment.A: not set -> "1"'),
        ("", '[envs.default]\npackages = ["scientific", "polars"]\n', 'envs.default.packages: + "polars"'),
        ("", '[envs.par]\npackages = ["polars"]\n', 'envs.par: not set -> { packages = ["polars"] }'),
        ("", "[limits.people.bob]\ncpu = 2.0\n", "limits.people.bob: not set -> { cpu = 2.0 }"),
        ("", '[jupyterhub]\n"JupyterHub.x" = 5\n', 'jupyterhub."JupyterHub.x": not set -> 5'),
    ],
)
def test_a_difference_is_one_line_in_the_words_of_the_file(before, after, line):
    assert said(before, after) == [line]


def test_secrets_are_not_shown_and_a_new_one_is_told():
    url = '[hub]\ndb_url = "postgresql://u:{}@db/x"\n'
    assert said(url.format("one"), url.format("two")) == ["hub.db_url: another value (hidden)"]
    github = '[jupyterhub]\n"GitHubOAuthenticator.client_secret" = "{}"\n'
    assert "one" not in "".join(said("", github.format("one")) + said(github.format("one"), github.format("two")))


def test_every_setting_says_since_when_it_counts():
    assert {setting.counts for setting in walk.settings()} == set(COUNTS)
    for key in ("http.base_url", "http.subdomains"):
        assert walk.counts(tuple(key.split("."))) == "address"
    assert walk.counts(("servers", "environment", "OMP_NUM_THREADS")) == "server"
    assert walk.counts(("envs", "par", "packages")) == "kernel"
    assert walk.counts(("jupyterhub", "JupyterHub.x")) == "at once"
    assert walk.counts(("jupyterhub", "Spawner.x")) == "server"


def test_what_a_server_keeps_is_every_setting_that_counts_from_its_start():
    configured = model_hub.configured(parse(""), SERVER)
    flat = {f"{table}.{name}" for table, values in configured.items() if isinstance(values, dict) for name in values}
    declared = {setting.key for setting in walk.settings() if setting.counts in ("server", "address")}
    assert {key for key in declared if not key.startswith("limits.")} - flat == {
        "servers.memory",
        "servers.cpu",
        "servers.tasks",
    }


# What warden.json gives to servers.
GIVEN = ("environment", "path", "private", "memory", "cpu", "tasks", "limits", "command")


@pytest.mark.parametrize(
    "setting", [one for one in walk.settings() if one.counts == "at once" and one.example], ids=str
)
def test_what_counts_at_once_is_nothing_that_a_server_is_given_when_it_starts(setting):
    def given(text):
        config = parse(text)
        facts = Facts(system=True, person="", home="", service="", systemd_runs=False, pythons=(), source_digest={})
        envs = {name: Environment(name, Path(f"/e/{name}"), "g1", "/usr/bin/python3", "3.11", "") for name in ENVS}
        settings = model_hub.warden_settings(config, facts, system_layout(), envs)
        return {name: settings[name] for name in GIVEN}

    try:
        changed = edit.set_value(
            "[envs.NAME]\n" if walk.NAME in setting.path else "", setting.key, toml(setting.example)
        )
    except ConfigError:
        return  # it cannot be set alone
    assert given(changed) == given(""), f"{setting.key} needs counts="


ENVS = ("hub", "server", "proxy", "default")


@pytest.fixture
def site(monkeypatch):
    """A site whose running servers were all started with `before`; what each keeps, by name."""

    def kept(before: str, after: str, limits=None, people=("bob",)):
        old, config = parse(before), parse(after)
        has = {**model_hub.configured(old, SERVER), "limits": limits or {}}
        monkeypatch.setattr(in_force.servers, "started_with", lambda *_: [(name, "", has) for name in people])
        monkeypatch.setattr(accounts, "is_member", lambda name, group: (name, group) == ("bob", "physics"))
        envs = {"server": SERVER["server"]}
        monkeypatch.setattr(in_force, "environments_of", lambda site: envs)
        one = SimpleNamespace(config=config, layout=SimpleNamespace(registry=None, warden_socket=None))
        return {item.name: [change.key for change in item.settings] for item in in_force.kept(one)}

    return kept


def test_only_what_differs_is_kept(site):
    assert site("", "") == {}
    assert site("", '[http]\nbase_url = "/wsl"\n') == {"bob": ["http.base_url"]}
    assert site('[servers]\nenvironment = {A = "1", B = "2"}\n', '[servers]\nenvironment = {A = "3", B = "2"}\n') == {
        "bob": ["servers.environment.A"]
    }
    assert site("", "[hub]\nlog_level = 'DEBUG'\n") == {}
    traits = '[jupyterhub]\n"Spawner.x" = 5\n"JupyterHub.y" = 6\n'
    assert site("", traits) == {"bob": ['jupyterhub."Spawner.x"']}


def test_limits_are_kept_by_those_whose_own_are_different(site):
    usual = {"memory": 2 << 30, "cpu": None, "tasks": 4096}
    people = ("alice", "bob", "carol")
    before = '[servers]\nmemory = "2G"\n'
    assert site(before, before, usual, people) == {}
    of_group = before + '[limits.groups.physics]\nmemory = "4G"\n[limits.people.carol]\ncpu = 2.0\n'
    assert site(before, of_group, usual, people) == {
        "bob": ["limits.groups.physics.memory"],
        "carol": ["limits.people.carol.cpu"],
    }
    assert site(before, "", usual, people) == {name: ["servers.memory"] for name in people}


def test_a_server_of_an_earlier_version_keeps_what_it_wrote_down_and_no_more(site, monkeypatch):
    has = {"http": {"base_url": "/", "gone": 1}}
    one = SimpleNamespace(
        config=parse('[http]\nbase_url = "/wsl"\n'), layout=SimpleNamespace(registry=0, warden_socket=0)
    )
    site("", "")
    monkeypatch.setattr(in_force.servers, "started_with", lambda *_: [("bob", "exp", has)])
    (kept,) = in_force.kept(one)
    assert kept.name == "bob/exp" and kept.moved and [change.key for change in kept.settings] == ["http.base_url"]


def test_many_servers_are_a_number():
    many = [
        Kept(f"s{number}", "", changed(parse(""), parse('[http]\nbase_url = "/x"\n')), True) for number in range(60)
    ]
    lines = as_text(many)
    assert len(lines) < 20 and any("48 more" in line for line in lines)
    assert as_text([]) == []
