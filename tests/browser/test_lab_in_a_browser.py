"""What a person does in a real browser: sign in, format a cell, run it, see the plot, sign out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from harness import wait_until
from playwright.sync_api import Browser, Page, expect

from support.pages import PASSWORD, SLOW, in_the_lab, open_notebook, sign_in, text_of_cell
from support.site import Site

UGLY = """import sys
import os
import matplotlib.pyplot as plt
import numpy as np
x=np.linspace( 0,2*np.pi ,200 )
fig,ax=plt.subplots( figsize=(7,3) )
for k in [1,2,3]: ax.plot(x,np.sin(k*x),label=f'sin({k}x)')
ax.legend( ) ;  ax.set_title( 'Three sines' )
plt.show( )
print( 'the sum is',6*7 )"""
# What isort and black make of it.
FORMATTED = """import os
import sys

import matplotlib.pyplot as plt
import numpy as np

x = np.linspace(0, 2 * np.pi, 200)
fig, ax = plt.subplots(figsize=(7, 3))
for k in [1, 2, 3]:
    ax.plot(x, np.sin(k * x), label=f"sin({k}x)")
ax.legend()
ax.set_title("Three sines")
plt.show()
print("the sum is", 6 * 7)"""


def test_a_cell_is_formatted_run_and_shows_its_plot(
    page: Page, site: Site, keep_picture: Callable[[str], None]
) -> None:
    page.goto(f"{site.url}hub/login")
    page.locator("#username_input").wait_for()
    keep_picture("login")
    sign_in(page, site)
    in_the_lab(page)
    open_notebook(page, site, "Sines.ipynb", UGLY)
    wait_until(
        lambda: text_of_cell(page) == UGLY, 30, lambda: f"the notebook's text:\n{text_of_cell(page)}", interval=0.2
    )
    toolbar = page.locator(".jp-NotebookPanel-toolbar")
    toolbar.locator("[data-command*='code_formatter'], [title*='Format' i]").first.click()
    wait_until(lambda: text_of_cell(page) == FORMATTED, 60, lambda: f"formatting:\n{text_of_cell(page)}", interval=0.2)

    # By the buttons: a key goes to what has the focus, and the formatter may take that away once more.
    toolbar.locator("[data-command='notebook:run-cell-and-select-next']").click()
    outputs = page.locator(".jp-Notebook:visible .jp-OutputArea-output")
    plot = outputs.locator("img[src^='data:image/png']")
    expect(plot).to_be_visible(timeout=SLOW)
    assert plot.evaluate("image => image.naturalWidth") > 300
    expect(outputs.filter(has_text="the sum is 42")).to_be_visible()
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(timeout=SLOW)
    toolbar.locator("[data-command='docmanager:save']").click()
    wait_until(lambda: "the sum is 42" in site.machine.read("/home/alice/Sines.ipynb"), 60, "the saved notebook")
    expect(page.locator(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty")).to_have_count(0)
    keep_picture("lab")


WIDGETS = """%matplotlib widget
import ipywidgets
import matplotlib.pyplot as plt
plt.plot([1, 3, 2])
plt.show()
ipywidgets.IntSlider(value=42)"""


def test_widgets_that_the_environment_has_are_drawn_in_the_lab(page: Page, site: Site) -> None:
    """The half that draws is in the environment as well, and nobody installed it for the server."""
    sign_in(page, site)
    in_the_lab(page)
    open_notebook(page, site, "Widgets.ipynb", WIDGETS)
    wait_until(lambda: text_of_cell(page) == WIDGETS, 60, "the notebook's text", interval=0.2)
    page.locator(".jp-NotebookPanel-toolbar:visible [data-command='notebook:run-cell-and-select-next']").click()
    outputs = page.locator(".jp-Notebook:visible .jp-OutputArea-output")
    expect(outputs.locator(".jupyter-matplotlib canvas").first).to_be_visible(timeout=SLOW)
    expect(outputs.locator(".widget-slider")).to_contain_text("42", timeout=SLOW)
    expect(outputs.filter(has_text=re.compile("Error|Failed to load"))).to_have_count(0)


def test_whoever_signs_out_in_the_lab_is_asked_for_the_password_again(page: Page, site: Site) -> None:
    sign_in(page, site)
    in_the_lab(page)
    page.locator("#jp-MainMenu").get_by_text("File", exact=True).click()
    page.locator(".lm-Menu").get_by_text("Log Out", exact=True).filter(visible=True).click()
    expect(page.locator("#username_input, a#login")).to_be_visible(timeout=SLOW)
    page.goto(f"{site.url}user/alice/lab")
    page.wait_for_url(re.compile(r"/hub/login"))
    expect(page.locator("#password_input")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "said", "button"),
    [("en-US", "JupyterLab has been updated here", "My server"), ("zh-CN", "这里的 JupyterLab 已更新", "我的服务器")],
)
def test_whoever_works_in_a_server_from_before_is_told_in_the_lab(
    chromium: Browser, site: Site, locale: str, said: str, button: str
) -> None:
    context = chromium.new_context(locale=locale, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site)
    in_the_lab(page)
    link = "/opt/manylab/envs/server/current"
    real = site.machine.run(["readlink", link]).stdout.strip()
    # Nothing starts from it here: a folder is enough of another generation. test_server_extensions makes a real one.
    site.machine.run(["mkdir", "-p", "/opt/manylab/envs/server/0123456789ab"])
    site.machine.run(["ln", "-sfnT", "0123456789ab", link])
    try:
        page.reload()
        told = page.locator(".Toastify__toast").filter(has_text=said)
        expect(told).to_be_visible(timeout=SLOW)
        with page.context.expect_page() as opened:
            told.get_by_role("button", name=button).click()
        expect(opened.value.locator("#stop")).to_be_visible(timeout=SLOW)
    finally:
        site.machine.run(["ln", "-sfnT", real, link])
        site.machine.run(["rmdir", "/opt/manylab/envs/server/0123456789ab"])
        context.close()


def test_a_wrong_password_leaves_one_on_the_login_page_with_a_plain_sentence(page: Page, site: Site) -> None:
    sign_in(page, site, password="not hers")
    expect(page.locator(".login_error")).to_have_text("The user name or password is wrong, or the account is locked.")
    expect(page.locator("#username_input")).to_have_value("alice")


@pytest.mark.parametrize(
    ("locale", "sentence"), [("zh-CN", "用户名或密码错误"), ("de-DE", "The user name or password is wrong")]
)
def test_the_login_page_speaks_chinese_to_a_chinese_browser_and_else_english(
    chromium: Browser, site: Site, locale: str, sentence: str
) -> None:
    context = chromium.new_context(locale=locale)
    page = context.new_page()
    page.goto(f"{site.url}hub/login")
    words = page.locator("body").inner_text()
    assert bool(re.search(r"[\u4e00-\u9fff]", words)) == (locale == "zh-CN"), words
    sign_in(page, site, password="not hers")
    expect(page.locator(".login_error")).to_contain_text(sentence)
    context.close()


def test_the_lab_speaks_the_language_of_each_browser_and_a_choice_in_the_lab_wins(
    chromium: Browser, site: Site
) -> None:
    def menu(locale: str, words: str, *choose: str) -> None:
        context = chromium.new_context(locale=locale, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(SLOW)
        page = context.new_page()
        sign_in(page, site)
        expect(page.locator("#jp-MainMenu")).to_contain_text(words, timeout=SLOW)
        if choose:
            settings, language, name, confirm = choose
            page.locator("#jp-MainMenu").get_by_text(settings, exact=True).click()
            page.locator(".lm-Menu").get_by_text(language, exact=True).hover()
            page.locator(".lm-Menu").get_by_text(name).filter(visible=True).click()
            with page.expect_response(lambda answer: "translation-extension" in answer.url and answer.ok):
                page.locator(".jp-Dialog").get_by_text(confirm).click()
        context.close()

    menu("zh-CN", "文件")
    try:
        # The same server in another browser; there she chooses Chinese, and has it there, too.
        menu("en-GB", "File", "Settings", "Language", "Chinese", "Change and reload")
        menu("en-GB", "文件", "设置", "语言", "英语", "更改并重新加载")
        menu("zh-CN", "File")
    finally:
        site.machine.run(["rm", "-rf", "/home/alice/.jupyter/lab/user-settings/@jupyterlab/translation-extension"])


def test_nothing_on_the_pages_comes_from_another_site_or_fails(page: Page, site: Site) -> None:
    elsewhere: list[str] = []
    failed: list[str] = []
    errors: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((site.url, "data:", "blob:")) else elsewhere.append(request.url),
    )
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(page, site)
    in_the_lab(page)
    page.locator(".jp-Launcher:visible, .jp-Notebook:visible").first.wait_for(timeout=SLOW)
    assert (elsewhere, failed, errors) == ([], [], [])


@pytest.mark.parametrize(("locale", "never"), [("en-US", "has never signed in"), ("zh-CN", "从未登录")])
def test_each_button_of_the_admin_page_works_and_all_members_are_there(
    chromium: Browser, page: Page, site: Site, locale: str, never: str
) -> None:
    sign_in(page, site)
    in_the_lab(page)
    context = chromium.new_context(locale=locale)
    context.set_default_timeout(SLOW)
    admin = context.new_page()
    refused: list[str] = []
    admin.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    admin.goto(f"{site.url}hub/login?next={site.base_url}hub/admin")
    admin.fill("#username_input", "bob")
    admin.fill("#password_input", PASSWORD)
    admin.click("#login_submit")
    expect(admin.locator("#members tr[data-name=carol]")).to_contain_text(never)
    expect(admin.locator("#members tr[data-name=carol] button")).to_have_count(0)
    assert admin.locator("#members tbody tr").count() == 3
    alice = admin.locator("#members tr[data-name=alice]")
    # There is no button but these two, and no link to other people's servers.
    assert alice.locator("button, a").evaluate_all("all => all.map(one => one.className.split(' ')[0])") == ["stop"]
    alice.locator("button.stop").click()
    alice.locator("button.start").click()
    expect(alice.locator("button.stop")).to_be_visible(timeout=SLOW)
    assert refused == []
    context.close()


def test_who_is_no_admin_reads_so_in_plain_words(page: Page, site: Site) -> None:
    sign_in(page, site)
    in_the_lab(page)
    page.goto(f"{site.url}hub/home")
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    page.goto(f"{site.url}hub/admin")
    expect(page.locator("h1")).to_have_text("You may not see this page")
    expect(page.locator(".error details")).not_to_have_attribute("open", "")
    page.goto(f"{site.url}hub/nowhere")
    expect(page.locator("h1")).to_have_text("There is no such page")


@pytest.mark.parametrize(
    ("locale", "said", "question"),
    [
        ("en-US", "by an admin of this site", "Would you like to restart it?"),
        ("zh-CN", "由本站点的管理员停止", "您的服务器"),
    ],
)
def test_in_a_lab_that_is_still_open_it_is_said_why_the_server_was_stopped(
    chromium: Browser, site: Site, locale: str, said: str, question: str
) -> None:
    context = chromium.new_context(locale=locale)
    context.set_default_timeout(SLOW)
    page = context.new_page()
    sign_in(page, site)
    in_the_lab(page)
    # Without what was open the last time: reading it would be refused, and be another dialog.
    page.goto(f"{site.url}user/alice/lab?reset")
    page.locator(".jp-Launcher:visible").wait_for()
    with site.client("bob", PASSWORD) as bob:
        bob.sign_in()
        bob.api("DELETE", "users/alice/server").raise_for_status()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text(said, timeout=SLOW)
    expect(dialog).to_contain_text(question)
    with context.expect_page() as opened:
        dialog.locator("button.jp-mod-accept").click()
    opened.value.wait_for_url(re.compile(r"/user/alice/lab|/spawn-pending/"), timeout=SLOW)
    context.close()
