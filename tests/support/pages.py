"""What is on the pages of a site, for tests with a real browser.

sign_in(page, site)                                  # as alice
in_the_lab(page)                                     # JupyterLab has started
open_notebook(page, site, "x.ipynb", "print( 1 )")   # with one cell
assert text_of_cell(page) == "print( 1 )"
"""

from __future__ import annotations

import json
import re

from playwright.sync_api import Page, expect

from support.site import Site

PASSWORD = "wonderland 1865"
SLOW = 60_000  # ms: a start of a server or a kernel on two busy cores


def notebook(*cells: str) -> str:
    """The text of an .ipynb file with these code cells, for the default kernel."""
    made: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": code,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, code in enumerate(cells)
    ]
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def sign_in(page: Page, site: Site, name: str = "alice", password: str = PASSWORD) -> None:
    """Through the form, and wait for whatever comes next."""
    page.goto(f"{site.url}hub/login")
    page.fill("#username_input", name)
    page.fill("#password_input", password)
    page.click("#login_submit, form [type=submit]")


def in_the_lab(page: Page) -> None:
    """JupyterLab has started: its menu bar and its launcher or notebook are there."""
    page.wait_for_url(re.compile(r"/user/alice/lab"), timeout=SLOW)
    expect(page.locator("#jp-MainMenu")).to_be_visible(timeout=SLOW)


def open_notebook(page: Page, site: Site, name: str, *cells: str) -> None:
    """Put a notebook into alice's home, and open it."""
    site.machine.write(f"/home/alice/{name}", notebook(*cells), owner="alice")
    # The Lab brings back what was open the last time, and what is run there may be lost.
    page.goto(f"{site.url}user/alice/lab/tree/{name}?reset")
    in_the_lab(page)
    page.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first.wait_for(timeout=SLOW)
    # What is run before the browser is connected with the kernel is lost, without a word; the toolbar's indicator is
    # idle even before there is a kernel.
    expect(page.get_by_text("Python 3 | Idle")).to_be_visible(timeout=SLOW)


def text_of_cell(page: Page, number: int = 0) -> str:
    """What is in the editor, line by line; CodeMirror draws each line as an element. Of the notebook that is seen: the
    Lab brings back those of before, behind it.
    """
    lines = page.locator(".jp-Notebook:visible .jp-CodeCell").nth(number).locator(".cm-line").all_text_contents()
    return "\n".join(lines)
