"""A real Chromium on the host, and a site on a throwaway machine for it to visit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import missing, sweep
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from support.pages import PASSWORD, SLOW
from support.site import Site

CHROMIUM = "/usr/bin/chromium"
# Without these it would look for updates, sync and a GPU on the machine of whoever runs the tests.
ARGUMENTS = [
    *(
        "--no-sandbox",
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session", autouse=True)
def requires_machines_and_chromium() -> None:
    """Skip all of this, saying why, where there can be no machine or is no browser."""
    if reason := missing():
        pytest.skip(reason)
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed")
    sweep.sweep()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of somebody who has never been here, with an English browser."""
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SLOW)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site that is up, with alice, bob who is its admin, and carol, who never signs in."""
    with Site("bookworm", config='[people]\nadmins = ["bob"]\n') as one:
        for name in ("alice", "bob", "carol"):
            one.add_user(name, PASSWORD)
        with one.up():
            yield one


@pytest.fixture
def keep_picture(page: Page) -> Callable[[str], None]:
    """`keep_picture("login")` keeps a screenshot as login.png when MANYLAB_SCREENSHOTS names a folder."""

    def keep(name: str) -> None:
        if folder := os.environ.get("MANYLAB_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep
