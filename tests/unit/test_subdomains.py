"""`http.public_url` and `http.subdomains`: what may be set together, and what the hub and the proxy are told."""

from __future__ import annotations

import pytest

from manylab.base.errors import ConfigError
from manylab.base.layout import system_layout
from manylab.config.load import parse
from manylab.model import hub
from manylab.model.facts import Facts

LAYOUT = system_layout()
URL = '[http]\npublic_url = "https://lab.example.org"\n'


def traits(text):
    facts = Facts(system=True, person="", home="", service="", systemd_runs=False, pythons=(), source_digest={})
    found = hub.hub_settings(parse(text), facts, LAYOUT)["traits"]
    return {name.partition(".")[2]: value for name, value in found.items()}


def refused(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [problem["key"] for problem in caught.value.data["problems"]]


def test_without_them_nothing_is_said_to_the_hub():
    assert not {"public_url", "subdomain_host", "cookie_host_prefix_enabled"} & traits("").keys()
    assert hub.address(parse("")) == "http://127.0.0.1:8000/"


def test_a_public_url_is_what_people_are_told_and_health_is_asked_here():
    config = parse(f'{URL}base_url = "/wsl"\n')
    assert hub.address(config) == "https://lab.example.org/wsl/"
    assert hub.local_url(config) == "http://127.0.0.1:8000/wsl/"
    assert traits(f'{URL}base_url = "/wsl"\n')["public_url"] == "https://lab.example.org/wsl/"


def test_subdomains_are_below_the_public_name_with_its_port():
    said = traits('[http]\npublic_url = "http://lab.example.org:8080/"\nsubdomains = true\n')
    assert said["subdomain_host"] == "http://lab.example.org:8080"
    # A browser takes a cookie named __Host- over https only.
    assert said["cookie_host_prefix_enabled"] is False
    assert traits(f"{URL}subdomains = true\n")["cookie_host_prefix_enabled"] is True


def test_subdomains_need_a_name_to_be_below():
    assert refused("[http]\nsubdomains = true\n") == ["http.subdomains"]
    for number in ("https://192.0.2.1", "https://[2001:db8::1]:8443"):
        assert refused(f'[http]\npublic_url = "{number}"\nsubdomains = true\n') == ["http.public_url"]


@pytest.mark.parametrize(
    "url",
    ["https://lab.example.org/elsewhere", "https://lab.example.org/?a=b", "https://me@lab.example.org", "lab.org"],
)
def test_a_public_url_says_where_the_site_is_and_nothing_else(url):
    assert refused(f'[http]\npublic_url = "{url}"\n') == ["http.public_url"]


def test_the_path_of_the_site_may_be_repeated():
    for path in ("", "/", "/wsl", "/wsl/"):
        parse(f'[http]\nbase_url = "/wsl"\npublic_url = "https://lab.example.org{path}"\n')


def test_jupyterhubs_own_name_for_it_is_refused_with_ours():
    with pytest.raises(ConfigError) as caught:
        parse('[jupyterhub]\n"JupyterHub.subdomain_host" = "https://lab.example.org"\n')
    assert "http.subdomains" in caught.value.data["problems"][0]["hint"]
