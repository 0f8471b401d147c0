"""Addresses from before base_url was changed: where they lead, and which the hub answers itself."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("jupyterhub")

from manylab.hub.moved_addresses import Moved, remember


@pytest.mark.parametrize(
    ("now", "earlier", "uri", "below"),
    [
        ("/wsl/", ["/"], "/user/bob/lab?reset", "user/bob/lab?reset"),
        ("/wsl/", ["/"], "/hub/home", "hub/home"),
        ("/wsl/", ["/"], "/", ""),
        ("/wsl/", ["/"], "/wsl/user/bob/lab", None),
        ("/wsl/", ["/"], "/wsl", None),
        ("/wsl/", ["/"], "/favicon.ico", None),
        ("/", ["/wsl/"], "/wsl/user/bob/lab", "user/bob/lab"),
        ("/", ["/wsl/"], "/wsl", ""),
        ("/", ["/wsl/"], "/wsl/?next=%2F", "?next=%2F"),
        ("/", ["/wsl/"], "/user/bob/files/wsl/user/x", None),
        ("/", ["/wsl/"], "/other/user/bob/lab", None),
        ("/a/b/", ["/a/", "/"], "/a/user/bob/lab", "user/bob/lab"),
        ("/a/", ["/a/b/", "/"], "/a/b/user/bob/lab", "user/bob/lab"),
        ("/user/", ["/"], "/user/bob/lab", "user/bob/lab"),
        ("/user/", ["/"], "/user/user/bob/lab", None),
        ("/wsl/", [], "/user/bob/lab", None),
        # No way to another site.
        ("/", ["/wsl/"], "/wsl//elsewhere.org/user/bob", None),
        ("/wsl/", ["/"], "//elsewhere.org/hub/home", None),
    ],
)
def test_what_is_below_an_earlier_base_url(now, earlier, uri, below):
    assert Moved(now, tuple(earlier)).below(uri) == below


@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/hub/api/users/bob/activity", "/wsl/hub/api/users/bob/activity"),
        ("/hub/api/oauth2/token", "/wsl/hub/api/oauth2/token"),
        # The browser's cookies are for the present address: it is redirected there.
        ("/hub/api/oauth2/authorize?client_id=x", "/hub/api/oauth2/authorize?client_id=x"),
        ("/hub/login", "/hub/login"),
        ("/user/bob/hub/api/x", "/user/bob/hub/api/x"),
        ("/wsl/hub/api/user", "/wsl/hub/api/user"),
    ],
)
def test_the_api_is_answered_under_an_earlier_base_url(path, answered):
    assert Moved("/wsl/", ("/",)).request(path) == answered


def test_earlier_addresses_are_remembered_each_once(tmp_path):
    file = tmp_path / "base_urls.json"
    assert remember(file, "/").earlier == ()
    assert remember(file, "/wsl/").earlier == ("/",)
    assert remember(file, "/wsl/").earlier == ("/",)
    assert remember(file, "/").earlier == ("/wsl/",)
    file.write_text("no JSON")
    assert remember(file, "/").earlier == ()
    file.write_text(json.dumps([f"/{number}/" for number in range(100)]))
    assert len(remember(file, "/x/").earlier) == 20
