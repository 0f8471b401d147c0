"""What is in people's plots, exports and kernels of the machine itself: fonts, time zones, and what changes later.

One site for all of it. What pandoc, Typst and matplotlib draw was looked at when this was written; here it is asked
what their files contain.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import pytest
from harness import wait_until

from support.client import Client
from support.site import Site

pytestmark = pytest.mark.timeout(900)

PARENT = "import os; print('nursery.py' in open(f'/proc/{os.getppid()}/cmdline').read())"
ENVS = "/opt/manylab/envs"


@pytest.fixture(
    scope="module",
    params=[("bookworm", "none"), pytest.param(("trixie", "systemd"), marks=pytest.mark.soak)],
    ids="-".join,
)
def site(request) -> Iterator[Site]:
    with Site(*request.param) as site:
        site.add_user("alice", "her password")
        site.install()
        until_warm(site)
        yield site


@pytest.fixture(scope="module")
def alice(site) -> Iterator[Client]:
    with site.client("alice", "her password") as alice:
        alice.sign_in()
        alice.open_lab()
        yield alice


def until_warm(site: Site, times: int = 1) -> None:
    """Until the nursery of kernels has been ready so often."""
    wait_until(lambda: ready(site) >= times, 120, lambda: site.logs(200))


def ready(site: Site) -> int:
    return site.logs(2000).count("the nursery default is ready")


def in_a_new_kernel(alice: Client, code: str) -> str:
    """What it prints, in a kernel that ends afterwards."""
    name = alice.start_kernel()
    try:
        return alice.run(code, timeout=120)
    finally:
        alice.server("DELETE", f"api/kernels/{name}")


# plots

PLOT = """
import warnings; warnings.simplefilter("error")
import matplotlib.pyplot as plt
plt.rcParams.update({settings})
plt.plot([-2, 1], label="数据"); plt.title("正弦曲线"); plt.xlabel("时间 $t^2$ (秒)"); plt.legend()
plt.savefig("plot.png"); plt.savefig("plot.svg"); plt.savefig("plot.pdf")
import pathlib; print(b"WenQuanYi" in pathlib.Path("plot.pdf").read_bytes())
"""


@pytest.mark.parametrize("settings", [{}, {"font.family": "serif"}, {"font.sans-serif": ["Arial", "DejaVu Sans"]}])
def test_a_chinese_label_is_chinese_whatever_font_is_chosen(alice, settings):
    assert in_a_new_kernel(alice, PLOT.format(settings=settings)) == "True\n"


def test_the_font_is_on_the_machine_for_programs_that_look_for_fonts_there(site):
    font = "/usr/local/share/fonts/manylab-wqy-microhei.ttc"
    assert site.machine.run(["head", "-c", "4", font], user="alice").stdout == "ttcf"


# exports

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": "# 第一章\n\n中文 $\\frac{1}{2}$ [nowhere](#none) ![far](http://far.invalid/x.png)\n\n"
            "\\begin{align}a &= b\\end{align}\n\n|甲|乙|\n|-|-|\n|1|2|",
        },
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "source": "print('你好')",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "你好\n" * 200 + "x" * 500},
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'},
                },
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"text/html": "<table><tr><td>表</td></tr></table>", "text/plain": "table"},
                },
            ],
        },
    ],
    "metadata": {"language_info": {"name": "python"}, "kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 4,
}


def unicode_of(pdf: bytes) -> set[str]:
    """Characters that a PDF's fonts are said to have drawn (their ToUnicode tables)."""
    found = set()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            text = zlib.decompress(stream)
        except zlib.error:
            continue
        if b"begincmap" in text:
            found |= {chr(int(code, 16)) for code in re.findall(rb"<[0-9A-Fa-f]+> <([0-9A-Fa-f]{4})>", text)}
    return found


@pytest.fixture(scope="module")
def notebook(alice) -> str:
    name = "报告 1.ipynb"
    alice.server("PUT", f"api/contents/{name}", json={"type": "notebook", "content": NOTEBOOK}).raise_for_status()
    return name


def test_every_format_on_the_menu_works(alice, notebook):
    menu = set(alice.server("GET", "api/nbconvert").json())
    assert {"pdf", "html", "latex", "rst", "asciidoc", "markdown", "slides"} <= menu
    assert not menu & {"webpdf", "qtpdf", "qtpng"}
    answers = {one: alice.server("GET", f"nbconvert/{one}/{notebook}?download=true", timeout=120) for one in menu}
    assert {one: answer.status_code for one, answer in answers.items()} == dict.fromkeys(menu, 200)
    assert answers["pdf"].content.startswith(b"%PDF-")
    assert {*"第一章中文你好甲表"} <= unicode_of(answers["pdf"].content)


def test_a_terminal_has_jupyter_s_commands_and_formatters(alice, notebook):
    words = ["notebook", "console", "kernelspec", "run", "execute", "trust", "server"]
    commands = [*(f"command -v jupyter-{word}" for word in words), "jupyter lab --version", "ipython -V"]
    commands += ["black --version", "isort --version", "pandoc --version", "pip --version"]
    screen = alice.terminal("; ".join(f"{one} >/dev/null 2>&1 || echo no {one}" for one in commands), timeout=180)
    assert screen.strip() == ""
    screen = alice.terminal(f"jupyter nbconvert --to pdf --output t '{notebook}' 2>&1; head -c 5 t.pdf", timeout=120)
    assert screen.strip().endswith("%PDF-")


# what changes

FONTS = "/usr/share/fonts/new"
# Some of warden/facts.py: what happens to the machine, what a kernel is asked, what it says then. {packages}: of the
# default environment.
CHANGES = {
    "fonts": (
        f"mkdir -p {FONTS} && cp {{packages}}/matplotlib/mpl-data/fonts/ttf/STIXGeneral.ttf {FONTS}/",
        "from matplotlib import font_manager as f; print([e.fname for e in f.fontManager.ttflist if 'new' in e.fname])",
        f"['{FONTS}/STIXGeneral.ttf']",
    ),
    "the time zone": (
        "ln -sf {packages}/tzdata/zoneinfo/Asia/Shanghai /etc/localtime",
        "import time, datetime; print(time.tzname[0], datetime.datetime.now().astimezone().utcoffset())",
        "CST 8:00:00",
    ),
    "types of files": (
        "echo 'application/x-new nyu' >> /etc/mime.types",
        "import mimetypes; print(mimetypes.guess_type('a.nyu')[0])",
        "application/x-new",
    ),
}
# What is looked up each time: the nursery stays as it is.
LOOKED_UP = {
    "host names": ("echo 127.9.9.9 newhost >> /etc/hosts", "import socket; print(socket.gethostbyname('newhost'))"),
    "programs": ("cp /bin/true /usr/local/bin/newprogram", "import shutil; print(shutil.which('newprogram'))"),
    "accounts": ("useradd newaccount", "import pwd; print(pwd.getpwnam('newaccount').pw_name)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fact_that_changed_is_seen_by_the_next_kernel_and_by_warm_ones_later(site, alice, change):
    command, code, expected = CHANGES[change]
    before = ready(site)
    assert in_a_new_kernel(alice, PARENT) == "True\n"
    packages = site.machine.run(f"ls -d {ENVS}/default/current/lib/python3*/site-packages").stdout.strip()
    site.machine.run(command.format(packages=packages))
    assert in_a_new_kernel(alice, code).strip() == expected, "at once"
    until_warm(site, before + 1)
    assert in_a_new_kernel(alice, PARENT) == "True\n"
    assert in_a_new_kernel(alice, code).strip() == expected, "and warm"


@pytest.mark.parametrize("change", LOOKED_UP)
def test_what_is_looked_up_each_time_costs_nobody_a_cold_start(site, alice, change):
    command, code = LOOKED_UP[change]
    before = ready(site)
    site.machine.run(command)
    assert "new" in in_a_new_kernel(alice, code) or "127.9.9.9" in in_a_new_kernel(alice, code)
    assert in_a_new_kernel(alice, PARENT) == "True\n" and ready(site) == before


def test_a_new_home_gets_a_list_of_the_fonts_there_are(site, alice):
    site.add_user("bob", "his password")
    with site.client("bob", "his password") as bob:
        bob.sign_in()
        bob.open_lab()
        bob.start_kernel()
        bob.run("import matplotlib.pyplot", timeout=120)
    assert "fonts/new/STIXGeneral" in site.machine.run("cat /home/bob/.cache/matplotlib/fontlist-*.json").stdout


def test_a_list_of_fonts_in_a_home_that_is_older_than_a_font_is_made_anew(site, alice):
    before = ready(site)
    site.machine.run(f"cp {FONTS}/STIXGeneral.ttf {FONTS}/another.ttf")
    code = "from matplotlib import font_manager as f; print(any('another' in e.fname for e in f.fontManager.ttflist))"
    assert in_a_new_kernel(alice, code) == "True\n"
    until_warm(site, before + 1)
    assert in_a_new_kernel(alice, code) == "True\n"


def test_a_person_s_own_settings_of_matplotlib_count(site, alice):
    folder = "~/.config/matplotlib"
    site.machine.run(f"mkdir -p {folder} && echo 'lines.linewidth: 7' > {folder}/matplotlibrc", user="alice")
    assert in_a_new_kernel(alice, "import matplotlib; print(matplotlib.rcParams['lines.linewidth'])") == "7.0\n"
