"""The recipes of docs/how-to, typed as they stand there, and then looked at by another account of the machine."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import SUITES

from support.build import PROJECT
from support.site import Site

PASSWORD = "wonderland 1865"
CLASS = PROJECT / "docs/how-to/class-of-60.md"


def shell_blocks(page: Path, heading: str) -> list[str]:
    """What a reader types from one section of a page."""
    section = page.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


@pytest.fixture(scope="module", params=SUITES)
def site(request) -> Iterator[Site]:
    with Site(request.param) as one:
        install = "apt-get install -qq -y --no-install-recommends sudo zip unzip git"
        one.machine.run(
            f"export DEBIAN_FRONTEND=noninteractive; {install} || (apt-get update -qq && {install})", timeout=600
        )
        one.add_user("teacher", PASSWORD)
        one.machine.write("/root/names.txt", "\ufeffbob\r\neve\r\n")
        with one.up():
            yield one


def type_in(site: Site, heading: str) -> None:
    for block in shell_blocks(CLASS, heading):
        site.machine.run(f"set -e; cd /root; {block}", timeout=300)


def test_the_class_signs_in_with_the_passwords_of_the_file(site):
    type_in(site, "The accounts")
    rows = list(csv.reader(site.machine.read("/root/passwords.csv").removeprefix("\ufeff").splitlines()))[1:]
    assert [name for name, _ in rows] == ["bob", "eve"]
    for name, password in rows:
        with site.client(name, password) as person:
            person.sign_in()
    assert site.machine.run("cat /root/passwords.csv", user="eve", check=False).returncode != 0


@pytest.mark.parametrize("umask", ["0002", "0022"])
@pytest.mark.parametrize(
    "make",
    [
        "echo made > {file}",
        "cp ~/own {file}",
        "cp -a ~/own {file}",
        "cp -a ~/own ~/moved && mv ~/moved {file}",
        "cd ~ && rm -f own.zip && zip -q own.zip own && cd $(dirname {file}) && unzip -qo ~/own.zip && mv own {file}",
        "mkdir {file} && rm -r {file} && git init -q {file}.git && touch {file}.git/made && echo made > {file}",
    ],
)
def test_what_a_teacher_puts_into_the_course_is_read_by_students_and_changed_by_none(site, make, umask):
    type_in(site, "Files for everybody")
    if site.machine.run(["getent", "passwd", "bob"], check=False).returncode:
        site.add_user("bob", PASSWORD)
    file = "/srv/course/material/lesson"
    site.machine.run(["rm", "-rf", file, f"{file}.git"])
    site.machine.run(f"umask {umask}; echo made > ~/own; {make.format(file=file)}", user="teacher")
    assert site.machine.run(["cat", file], user="bob").stdout == "made\n"
    for attack in (
        f"echo changed > {file}",
        f"echo changed > {file}.new",
        f"mv {file} {file}.away",
        f"rm -rf {file}",
        f"chmod 777 {file}",
        "touch /srv/course/mine",
        f"find {file}* -writable | grep .",
    ):
        assert site.machine.run(attack, user="bob", check=False).returncode != 0, attack
    assert site.machine.run(["cat", file], user="teacher").stdout == "made\n"
    assert site.machine.run("cat ~/course/lesson", user="bob").stdout == "made\n", "the link in the home"
    assert site.machine.run(["cat", file], user="nobody", check=False).returncode != 0, "not a member of the site"
