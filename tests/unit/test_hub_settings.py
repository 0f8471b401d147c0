"""hub.json and what becomes of it in JupyterHub."""

import json
import sys

import pytest

pytest.importorskip("jupyterhub")

from manylab.base.command_token import SERVICE, command_token
from manylab.base.errors import ConfigError, Refused
from manylab.hub import defaults, settings
from manylab.hub.lookup import authenticator_class, is_loopback
from manylab.hub.membership_mixin import MembersOnly

LAYOUT = {
    "state": "/s",
    "database": "/s/jupyterhub.sqlite",
    "cookie_secret": "/s/cookie_secret",
    "proxy_token": "/s/proxy_token",
    "hub_socket": "/run/manylab/hub/hub.sock",
    "proxy_api_socket": "/run/manylab/proxy/api.sock",
    "warden_socket": "/run/manylab/warden/warden.sock",
    "servers": "/run/manylab/servers",
}


def site(**more):
    return settings.parse({"version": 1, "layout": LAYOUT, **more})


class Sections(dict):
    """As much of JupyterHub's `c` as settings.configure uses."""

    def __missing__(self, name):
        self[name] = type(name, (), {})()
        return self[name]


def configured(tmp_path, **more):
    token = tmp_path / "token"
    token.write_text("abc\n")
    c = Sections()
    layout = {**LAYOUT, "proxy_token": str(token), "cookie_secret": str(token)}
    settings.configure(c, settings.parse({"version": 1, "layout": layout, **more}))
    return c


def test_only_version_and_layout_are_needed():
    assert site().authenticator == "pam"
    assert site().group == "manylab"


@pytest.mark.parametrize("data", [None, [], {}, {"version": 2, "layout": LAYOUT}])
def test_another_version_is_an_error_that_says_what_to_do(data):
    with pytest.raises(ConfigError) as caught:
        settings.parse(data)
    assert "apply" in caught.value.hint


def test_every_missing_path_is_named():
    with pytest.raises(ConfigError) as caught:
        settings.parse({"version": 1, "layout": {"state": "/s"}})
    assert len(caught.value.data["problems"]) == len(LAYOUT) - 1


def test_an_unknown_key_is_an_error():
    with pytest.raises(ConfigError):
        site(people={"grup": "typo"})


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        settings.read(tmp_path / "none.json")
    (tmp_path / "half.json").write_text(json.dumps({"version": 1})[:-1])
    with pytest.raises(ConfigError):
        settings.read(tmp_path / "half.json")


def test_traits_of_the_site_win(tmp_path):
    c = configured(tmp_path, traits={"JupyterHub.concurrent_spawn_limit": 7, "Spawner.poll_interval": 3})
    assert c["JupyterHub"].concurrent_spawn_limit == 7
    assert c["Spawner"].poll_interval == 3


def test_a_service_of_the_site_does_not_take_the_culler_away(tmp_path):
    c = configured(tmp_path, servers={"idle_timeout": 3600}, traits={"JupyterHub.services": [{"name": "mine"}]})
    assert [service["name"] for service in c["JupyterHub"].services] == [SERVICE, defaults.CULLER, "mine"]


def test_the_proxy_token_is_read_from_its_file(tmp_path):
    assert configured(tmp_path)["ConfigurableHTTPProxy"].auth_token == "abc"


def test_everything_listens_on_unix_sockets():
    wanted = defaults.settings(site(), "t", "s")
    for name in ("JupyterHub.hub_bind_url", "JupyterHub.hub_connect_url", "ConfigurableHTTPProxy.api_url"):
        assert wanted[name].startswith("http+unix://%2f"), name


def test_nobody_has_the_admin_flag_and_the_role_cannot_open_servers_unless_the_site_says_so():
    people = {"admins": ["jane"]}
    closed = defaults.settings(site(people=people), "t", "s")
    opened = defaults.settings(site(people={**people, "admin_access": True}), "t", "s")
    assert closed["Authenticator.admin_users"] == set()
    role = closed["JupyterHub.load_roles"][0]
    assert role["users"] == ["jane"]
    assert not {"access:servers", "tokens", "admin:users", "inherit", "shares"} & set(role["scopes"])
    assert "access:servers" in opened["JupyterHub.load_roles"][0]["scopes"]


def test_the_person_of_a_one_person_site_is_its_admin():
    assert site(people={"person": "alice"}).admin_role_people == ["alice"]


def test_without_idle_timeout_there_is_no_culler():
    wanted = defaults.settings(site(), "t", "s")
    assert [service["name"] for service in wanted["JupyterHub.services"]] == [SERVICE]
    assert [role["name"] for role in wanted["JupyterHub.load_roles"]] == [defaults.ADMIN_ROLE, SERVICE]


def test_the_command_lines_token_restarts_servers_and_opens_none():
    wanted = defaults.settings(site(), "t", "secret\n")
    assert wanted["JupyterHub.services"] == [{"name": SERVICE, "api_token": command_token("secret")}]
    assert command_token("secret") != command_token("another")
    scopes = wanted["JupyterHub.load_roles"][1]["scopes"]
    assert set(scopes) == {"list:users", "read:users:name", "read:servers", "start:servers", "delete:servers"}


def test_the_culler_may_only_look_and_stop_and_is_told_the_hubs_socket():
    more = {"servers": {"idle_timeout": 3600}, "traits": {"JupyterHub.bind_url": "http://127.0.0.1:8000/wsl/"}}
    wanted = defaults.settings(site(**more), "t", "s")
    _, service = wanted["JupyterHub.services"]
    assert service["command"] == [sys.executable, "-I", "-m", "manylab.hub.culler"]
    assert "admin" not in service
    assert service["environment"]["JUPYTERHUB_API_URL"].endswith("hub%2esock/wsl/hub/api")
    scopes = wanted["JupyterHub.load_roles"][2]["scopes"]
    assert scopes == ["list:users", "read:users:activity", "read:servers", "delete:servers"]


@pytest.mark.parametrize(("timeout", "interval"), [(None, 300), (0, 300), (3600, 300), (600, 150), (24, 6), (1, 5)])
def test_activity_is_reported_often_enough_for_the_idle_timeout(timeout, interval):
    assert site(servers={"idle_timeout": timeout}).activity_interval == interval


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000/", True),
        ("http://127.3.2.1/", True),
        ("http://[::1]:8000/x", True),
        ("http://localhost:8000", True),
        ("http+unix://%2fx", True),
        ("http://:8000", False),
        ("http://0.0.0.0:8000", False),
        ("http://localhost.example.org", False),
        ("https://192.168.1.2", False),
    ],
)
def test_what_is_a_loopback_address(url, loopback):
    assert is_loopback(url) is loopback


def test_dummy_is_refused_where_others_can_reach_it():
    with pytest.raises(Refused):
        authenticator_class("dummy", "http://0.0.0.0:8000/")
    assert authenticator_class("dummy", "http://127.0.0.1:8000/")


@pytest.mark.parametrize("name", ["pam", "dummy", "shared-password", "jupyterhub.auth:NullAuthenticator"])
def test_every_authenticator_lets_in_members_only(name):
    assert issubclass(authenticator_class(name, "http://127.0.0.1/"), MembersOnly)


@pytest.mark.parametrize("name", ["pamm", "nowhere.at.all:Class", "json:dumps", "jupyterhub.auth:Nothing"])
def test_an_authenticator_that_is_not_there_is_a_config_error_with_a_hint(name):
    with pytest.raises(ConfigError):
        authenticator_class(name, "http://127.0.0.1/")
