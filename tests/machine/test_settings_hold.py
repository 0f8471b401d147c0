"""What the page of settings promises and no other test looks at, on one site: as people meet it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.build import SMALL
from support.client import Refused
from support.looking import in_memory
from support.site import Site

PASSWORD, SHARED = "wonderland 1865", "one password for all of us"
CONFIG = f"""{SMALL}
[site]
name = "Physics & <lab>"
language = "zh_CN"
[people]
authenticator = "shared-password"
[servers]
private_tmp = false
default_url = "/lab/tree/welcome.txt"
[hub]
log_level = "WARNING"
[jupyterhub]
"SharedPasswordAuthenticator.user_password" = "{SHARED}"
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site("bookworm", config=CONFIG, machine=in_memory("bookworm", small=True)) as one:
        one.add_user("alice", PASSWORD)
        one.machine.add_account("eve", password=PASSWORD)
        with one.up():
            yield one


def test_the_name_of_the_site_is_on_its_pages_as_it_is_written(site):
    with site.client("alice", SHARED) as alice:
        page = alice.get("hub/login").text
    assert "<title>Physics &amp; &lt;lab&gt;</title>" in page and "Physics & <lab>" not in page


def test_a_language_that_is_set_is_that_of_every_browser(site):
    with site.client("alice", "not it", language="en") as wrong, pytest.raises(Refused, match=r"用户名或密码错误"):
        wrong.sign_in()
    with site.client("alice", SHARED, language="en") as alice:
        alice.sign_in()
        alice.open_lab()
        pack = alice.server("GET", "lab/api/translations/default").json()["data"]
        assert pack["jupyterlab"][""]["language"] == "zh-CN"


def test_a_shared_password_lets_in_members_and_nobody_else(site):
    with site.client("eve", SHARED) as eve, pytest.raises(Refused):
        eve.sign_in()
    # Nor is the password of the account one here.
    with site.client("alice", PASSWORD) as alice, pytest.raises(Refused):
        alice.sign_in()


def test_people_arrive_at_the_page_that_is_set_and_share_tmp_where_that_is_set(site):
    site.machine.write("/home/alice/welcome.txt", "hello", owner="alice")
    with site.client("alice", SHARED) as alice:
        alice.sign_in()
        alice.open_lab()
        arrived = alice.get("user/alice/")
        assert arrived.url.path == "/user/alice/lab/tree/welcome.txt"
        alice.run("open('/tmp/seen', 'w').write('by all')")
    assert site.machine.read("/tmp/seen") == "by all"


def test_a_log_has_no_more_than_it_is_told_to(site):
    log = site.machine.read("/var/log/manylab/hub.log")
    assert re.findall(r"^\[[ID] .*", log, re.MULTILINE) == []
