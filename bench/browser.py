"""With a real browser: from the click on "Sign in" to a notebook whose kernel is idle, in a Lab that is drawn."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from playwright.sync_api import Browser, Error, Page

from manylab.cli.bench.cases import PATIENCE, Visit
from manylab.cli.bench.place import Place
from manylab.cli.bench.samples import Metric, Sample

METRICS = (
    Metric("browser-lab", "in Chromium: the Lab is drawn", "s"),
    Metric("browser", "in Chromium: and the notebook's kernel is idle", "s"),
    Metric("browser-again", "in Chromium: the same page once more, server and kernel running, all in its cache", "s"),
)
NOTEBOOK = "First.ipynb"
# Without these it would look for updates and a GPU while we measure.
ARGUMENTS = [
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def measure(chromium: Browser, visit: Visit, place: Place) -> Iterator[Sample]:
    """One person with a browser that has never been here: nothing is in its cache."""
    name, password = visit.people[0]
    _put_notebook(place.homes / name, name)
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    visit.say(f"{visit.side}: one person with Chromium")
    try:
        drawn, idle = _sign_in_and_wait(page, visit.url, name, password)
        yield visit.sample("browser-lab", drawn)
        yield visit.sample("browser", idle)
        # What is left is Chromium's own work: no start of anything, hardly a byte to fetch. No side can be below it.
        page.close()
        yield visit.sample("browser-again", _open_again(context.new_page(), visit.url, name))
    except Error as error:
        yield visit.sample("browser", None, error.message.splitlines()[0][:120])
    finally:
        context.close()
        # By the hub's own page, as everybody else leaves.
        visit.generator.arrive(visit.url, visit.people[:1], PATIENCE)
        visit.generator.leave([name])


def _sign_in_and_wait(page: Page, site: str, name: str, password: str) -> tuple[float, float]:
    """Seconds until the notebook is drawn, and until its kernel is idle."""
    # The kind of link that a teacher sends round.
    wanted = f"{urlsplit(site).path}hub/user-redirect/lab/tree/{NOTEBOOK}"
    page.goto(f"{site}hub/login?next={quote(wanted, safe='')}")
    page.fill("#username_input", name)
    page.fill("#password_input", password)
    began = time.perf_counter()
    page.click("#login_submit", no_wait_after=True)
    drawn = _wait_until_drawn(page)
    _wait_until_idle(page)
    return drawn - began, time.perf_counter() - began


def _open_again(page: Page, site: str, name: str) -> float:
    """Seconds until the notebook that was just closed is there again with its idle kernel."""
    began = time.perf_counter()
    page.goto(f"{site}user/{quote(name)}/lab/tree/{NOTEBOOK}", wait_until="commit")
    _wait_until_drawn(page)
    _wait_until_idle(page)
    return time.perf_counter() - began


def _wait_until_drawn(page: Page) -> float:
    """When it was."""
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.wait_for(state="visible")
    return time.perf_counter()


def _wait_until_idle(page: Page) -> None:
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(state="visible")


def _put_notebook(home: Path, name: str) -> None:
    cell: dict[str, object] = {"cell_type": "code", "id": "a", "metadata": {}, "source": "6 * 7"}
    cell |= {"execution_count": None, "outputs": []}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path = home / NOTEBOOK
    path.write_text(json.dumps(notebook), encoding="utf-8")
    entry = pwd.getpwnam(name)
    os.chown(path, entry.pw_uid, entry.pw_gid)
