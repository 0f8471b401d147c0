"""Addresses of unix sockets survive JupyterHub's way of reading them."""

from urllib.parse import unquote, urlparse

import pytest

pytest.importorskip("jupyterhub")

from jupyterhub import orm

from manylab.hub import urls


@pytest.mark.parametrize(
    "path", ["/run/manylab/servers/alice/_/server.sock", "/tmp/Big Lab/a:b/x.sock", "/tmp/实验室/s.sock", "/a/b.8000"]
)
def test_a_path_survives_jupyterhubs_reading_of_the_host(path):
    url = urls.socket_url(path)
    assert unquote(urlparse(url + "/user/alice/").hostname) == path
    assert urls.socket_path(url + "/user/alice/") == path
    assert urls.socket_path(urls.without_port(f"{url}:80/x/")) == path


@pytest.mark.parametrize(
    ("url", "fixed"),
    [
        ("http+unix://%2frun%2fs.sock:80", "http+unix://%2frun%2fs.sock"),
        ("http+unix://%2frun%2fs.sock:80/user/a/", "http+unix://%2frun%2fs.sock/user/a/"),
        ("http+unix://%2frun%2fs.sock", "http+unix://%2frun%2fs.sock"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ],
)
def test_the_port_that_the_database_adds_is_taken_off(url, fixed):
    assert urls.without_port(url) == fixed


def test_a_server_from_the_database_has_no_port_even_when_it_is_filled_in_later():
    row = orm.Server(proto="http", ip="", port=0, base_url="/user/alice/", cookie_name="")
    server = urls.SocketServer(orm_server=row)
    # This is what User.spawn does when the spawner has answered.
    row.proto, row.ip, row.port = "http+unix", "%2frun%2fs%2esock", 80
    assert server.host == "http+unix://%2frun%2fs%2esock"
    assert server.url == "http+unix://%2frun%2fs%2esock/user/alice/"


def test_a_server_on_a_port_stays_as_it_is():
    server = urls.SocketServer(
        orm_server=orm.Server(proto="http", ip="10.0.0.1", port=8888, base_url="/user/alice/", cookie_name="")
    )
    assert server.url == "http://10.0.0.1:8888/user/alice/"


def test_the_culler_reaches_the_hub_by_its_socket():
    culler = pytest.importorskip("manylab.hub.culler")
    url, path = culler.plain_url("http+unix://%2frun%2fhub%2esock/wsl/hub/api")
    assert (url, path) == ("http://hub.invalid/wsl/hub/api", "/run/hub.sock")
    assert culler.plain_url("http://127.0.0.1:8081/hub/api") == ("http://127.0.0.1:8081/hub/api", None)


def test_accounts_that_differ_in_capitals_have_names_of_their_own_in_the_dns():
    names = {urls.subdomain(name, "lab.example.org", "user").lower() for name in ("bob", "Bob", "BOB", "bOb")}
    assert len(names) == 4 and "bob.lab.example.org" in names
