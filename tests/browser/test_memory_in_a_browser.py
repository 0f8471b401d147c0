"""What somebody sees in their Lab whose notebook takes too much memory: why, under the cell, and it stays there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import wait_until
from playwright.sync_api import Page, expect

from support.build import SMALL
from support.looking import in_memory
from support.pages import PASSWORD, SLOW, in_the_lab, open_notebook, sign_in
from support.site import Site

CONFIG = f'{SMALL}[servers]\nmemory = "400M"\n'
EAT = "eaten = []\nwhile True: eaten.append(b'x' * (8 << 20))"


@pytest.fixture(scope="module")
def small_site() -> Iterator[Site]:
    """A site that is up, with alice, who has little memory."""
    with Site("bookworm", config=CONFIG, machine=in_memory("bookworm", small=True)) as one:
        one.add_user("alice", PASSWORD)
        with one.up():
            yield one


def test_the_reason_is_under_the_cell_and_is_saved_with_the_notebook(page: Page, small_site: Site) -> None:
    sign_in(page, small_site)
    in_the_lab(page)
    open_notebook(page, small_site, "Hungry.ipynb", EAT, "print('again', 6 * 7)")
    toolbar = page.locator(".jp-NotebookPanel-toolbar")
    run = toolbar.locator("[data-command='notebook:run-cell-and-select-next']")
    run.click()
    outputs = page.locator(".jp-Notebook:visible .jp-OutputArea-output")
    expect(outputs.filter(has_text="Out of memory")).to_be_visible(timeout=SLOW)
    expect(outputs.filter(has_text="its limit is 400 MB")).to_be_visible()
    # JupyterLab's own words.
    dialog = page.locator(".jp-Dialog", has_text="appears to have died")
    dialog.get_by_role("button", name="Ok").click(timeout=SLOW)
    toolbar.locator("[data-command='docmanager:save']").click()
    wait_until(lambda: "Out of memory" in small_site.machine.read("/home/alice/Hungry.ipynb"), 60, "the saved notebook")
    run.click()
    expect(outputs.filter(has_text="again 42")).to_be_visible(timeout=SLOW)
    expect(outputs.filter(has_text="Out of memory")).to_have_count(1)
