"""How registries are reached: the site's [mirrors], then the caller's variables, then pip's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from manylab.apply.site import mirrors
from manylab.config.load import parse
from manylab.system import registries
from manylab.system.registries import Mirrors, environment

MIRROR, OTHER = "https://mirror.example.org/simple", "https://other.example.org/simple"


@pytest.fixture(autouse=True)
def no_system_certificates(tmp_path, monkeypatch):
    """This host's own store does not matter, unless a test makes one."""
    monkeypatch.setattr(registries, "SYSTEM_CERTIFICATES", tmp_path / "ca-certificates.crt")
    return tmp_path / "ca-certificates.crt"


def found(mirrors: Mirrors | None = None, *pip_files: Path, **caller: str) -> dict[str, str]:
    return environment(mirrors or Mirrors(), caller=caller, pip_files=pip_files)


def pip_conf(folder: Path, text: str, name: str = "pip.conf") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_ready_made_set_is_used_and_single_settings_win_over_it():
    config = parse('[mirrors]\npreset = "china"\nnpm = "https://npm.example.org/"\n', "manylab.toml")
    variables = environment(mirrors(config), caller={}, pip_files=())
    assert variables["UV_DEFAULT_INDEX"].startswith("https://pypi.tuna.")
    assert variables["npm_config_registry"] == "https://npm.example.org/"
    assert config.mirrors.chosen.conda.endswith("/anaconda/cloud")
    assert parse("", "manylab.toml").mirrors.chosen.conda == ""


def test_without_any_setting_every_tool_has_its_own_default():
    assert found() == {}


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_an_index_under_any_of_its_names_reaches_uv_and_pip(name):
    assert found(**{name: MIRROR}) == {"UV_DEFAULT_INDEX": MIRROR, "PIP_INDEX_URL": MIRROR}


def test_uv_s_own_variables_come_before_pip_s():
    assert found(UV_DEFAULT_INDEX=MIRROR, UV_INDEX_URL=OTHER, PIP_INDEX_URL=OTHER)["UV_DEFAULT_INDEX"] == MIRROR
    assert found(UV_INDEX_URL=MIRROR, PIP_INDEX_URL=OTHER)["UV_DEFAULT_INDEX"] == MIRROR


def test_the_site_s_own_mirror_comes_before_the_caller_s():
    assert found(Mirrors(pypi=MIRROR), PIP_INDEX_URL=OTHER, UV_DEFAULT_INDEX=OTHER)["UV_DEFAULT_INDEX"] == MIRROR


def test_pip_s_configuration_file_is_read_and_comes_last(tmp_path):
    conf = pip_conf(tmp_path, f"[global]\nindex-url = {MIRROR}\ncert = /etc/company.pem\n")
    assert found(None, conf)["UV_DEFAULT_INDEX"] == MIRROR
    assert found(None, conf)["SSL_CERT_FILE"] == "/etc/company.pem"
    assert found(None, conf, PIP_INDEX_URL=OTHER)["UV_DEFAULT_INDEX"] == OTHER


def test_of_several_files_of_pip_the_last_wins_and_a_broken_one_is_passed_over(tmp_path):
    first = pip_conf(tmp_path, f"[global]\nindex-url = {OTHER}\n", "first")
    broken = pip_conf(tmp_path, "index-url = no section\n", "broken")
    second = pip_conf(tmp_path, f"[global]\nindex-url = {MIRROR}\n", "second")
    assert found(None, first, broken, tmp_path / "missing", second)["UV_DEFAULT_INDEX"] == MIRROR


def test_a_percent_sign_in_pip_s_file_is_a_percent_sign(tmp_path):
    url = "https://me:p%40ss@mirror.example.org/simple"
    assert found(None, pip_conf(tmp_path, f"[global]\nindex-url = {url}\n"))["UV_DEFAULT_INDEX"] == url


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_of_authorities_reaches_uv_and_node(name):
    result = found(**{name: "/etc/company.pem"})
    assert result["SSL_CERT_FILE"] == result["NODE_EXTRA_CA_CERTS"] == "/etc/company.pem"
    assert "UV_SYSTEM_CERTS" not in result


def test_node_keeps_a_bundle_of_its_own():
    assert found(SSL_CERT_FILE="/etc/a.pem", NODE_EXTRA_CA_CERTS="/etc/b.pem")["NODE_EXTRA_CA_CERTS"] == "/etc/b.pem"


def test_without_a_bundle_the_system_s_store_is_trusted(no_system_certificates):
    no_system_certificates.write_text("certificates", encoding="utf-8")
    assert found() == {"UV_SYSTEM_CERTS": "1", "NODE_EXTRA_CA_CERTS": str(no_system_certificates)}


def test_uv_s_older_name_for_the_system_s_store_is_not_passed_on():
    assert "UV_NATIVE_TLS" not in found(UV_NATIVE_TLS="1")


def test_the_site_s_own_bundle_comes_first():
    assert found(Mirrors(ca_bundle="/etc/a.pem"), SSL_CERT_FILE="/etc/b.pem")["SSL_CERT_FILE"] == "/etc/a.pem"


def test_the_caller_s_proxy_is_passed_on_and_the_site_s_replaces_it():
    assert found(HTTPS_PROXY="http://p:1", NO_PROXY="localhost") == {
        "HTTPS_PROXY": "http://p:1",
        "NO_PROXY": "localhost",
    }
    result = found(Mirrors(proxy="http://q:2"), HTTPS_PROXY="http://p:1", https_proxy="http://p:1")
    assert {result[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {"http://q:2"}


def test_the_registry_of_npm_is_the_site_s_or_the_caller_s():
    assert found(Mirrors(npm="https://npm.example.org/"))["npm_config_registry"] == "https://npm.example.org/"
    assert found(npm_config_registry="https://npm.example.org/")["npm_config_registry"] == "https://npm.example.org/"


def test_only_these_variables_of_the_caller_are_taken(monkeypatch):
    """Nothing else of root's environment reaches an installer."""
    for name, value in {
        "PIP_INDEX_URL": MIRROR,
        "PYTHONPATH": "/x",
        "UV_PROJECT": "/x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    result = environment(Mirrors(), pip_files=())
    assert result["UV_DEFAULT_INDEX"] == MIRROR
    assert not {"PYTHONPATH", "UV_PROJECT", "AWS_SECRET_ACCESS_KEY"} & result.keys()
