"""The whole site below a path, as people know it from WSL: http://localhost:8000/wsl."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from support.pages import PASSWORD, SLOW, in_the_lab, sign_in
from support.site import Site


@pytest.fixture(scope="module")
def site_below_wsl() -> Iterator[Site]:
    with Site("trixie", config='[http]\nbase_url = "/wsl"\n') as one:
        one.add_user("alice", PASSWORD)
        with one.up():
            yield one


def test_below_a_path_one_signs_in_and_runs_code_as_anywhere_else(page: Page, site_below_wsl: Site) -> None:
    site = site_below_wsl
    assert site.url.endswith("/wsl/")
    outside: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((site.url, "data:", "blob:")) else outside.append(request.url),
    )
    page.goto(site.url.rstrip("/"))
    page.wait_for_url(re.compile(r"/wsl/hub/login"))
    sign_in(page, site)
    in_the_lab(page)
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    cell = page.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first
    cell.wait_for(timeout=SLOW)
    # Cells that are run before the kernel is connected are dropped by the Lab without a word.
    expect(page.get_by_text("Python 3 | Idle")).to_be_visible(timeout=SLOW)
    cell.click()
    page.keyboard.type("print('below', 40 + 2)")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-OutputArea-output").filter(has_text="below 42")).to_be_visible(timeout=SLOW)
    assert [url for url in outside if not url.startswith(site.url.rstrip("/"))] == []
