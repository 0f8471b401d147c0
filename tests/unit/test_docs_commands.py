"""The pages that people read: every command is in them, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from manylab.cli import completion, completion_table, reference
from manylab.cli.app import app

CHECKOUT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
# Folders without pages of ours: other people's packages, builds.
NOT_OURS = {"node_modules", "build", "dist"}


def is_ours(page: Path) -> bool:
    """Whether a page (relative to the checkout) is one that we wrote."""
    return not any(part.startswith(".") or part in NOT_OURS for part in page.parts)


PAGES = sorted(filter(is_ours, (path.relative_to(CHECKOUT) for path in CHECKOUT.rglob("*.md"))))
ENTRIES = reference.entries()


def without_blocks(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *(```|~~~).*?^ *\1", "", text, flags=re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    """A page without blocks and spans of code: links in them are not links."""
    return re.sub(r"`[^`\n]*`", "", without_blocks(text))


def links(text: str) -> list[str]:
    """Targets of [text](target) and ![text](target) that are not of the web."""
    found = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", without_code(text))
    found += re.findall(r"<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"", without_code(text))
    return [target for target in found if not re.match(r"[a-z][a-z0-9+.-]*:", target)]


def anchors(text: str) -> set[str]:
    """What a #fragment may name: explicit ids, and headings as GitHub writes them."""
    found = set(re.findall(r"<a id=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#+\s+(.+?)\s*$", without_blocks(text), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def test_the_page_of_commands_is_up_to_date():
    written = (CHECKOUT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert written == reference.page(), "run: PYTHONPATH=src python -m manylab.cli.reference"


def test_what_completion_offers_is_up_to_date():
    written = completion.TABLE.read_text(encoding="utf-8")
    assert written == completion_table.text(), "run: PYTHONPATH=src python -m manylab.cli.reference"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_command_says_what_it_does_and_shows_an_example(entry):
    assert entry.description.endswith((".", "?"))
    assert re.search(rf"\bmanylab {entry.name}\b", entry.example), f"{entry.name}: {entry.example!r}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_option_says_what_it_is_for(entry):
    for param in entry.parser.params:
        assert getattr(param, "help", None) or param.name == "help", f"manylab {entry.name}: {param.name}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_help_says_nothing_of_types_behind_options_that_take_nothing(entry):
    said = CliRunner().invoke(app, [*entry.words, "--help"])
    assert said.exit_code == 0 and "<bool>" not in said.output


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_names_every_command(readme):
    text = (CHECKOUT / readme).read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text)
    named = {word for span in spans for word in span.replace("|", " ").split()}
    assert {entry.words[0] for entry in ENTRIES} <= named


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_names_no_command_that_is_not_there(readme):
    text = (CHECKOUT / readme).read_text(encoding="utf-8")
    known = {entry.words[0] for entry in ENTRIES}
    for word in re.findall(r"(?:\./|sudo |[`|] ?)manylab ([a-z][a-z-]*)", text):
        assert word in known, f"{readme}: manylab {word}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_tells_nobody_to_type_what_is_not_there(page):
    known = {entry.words for entry in ENTRIES}
    groups = {words[0] for words in known if len(words) > 1}
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    for first, second in re.findall(r"(?:\./|\bsudo )manylab ([a-z][a-z-]*)(?: ([a-z-]+))?", text):
        assert ((first, second) if first in groups and second else (first,)) in known | {(group,) for group in groups}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_link_of_a_page_leads_nowhere(page):
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    for target in links(text):
        path, _, fragment = unquote(target).partition("#")
        there = ((CHECKOUT / page).parent / path).resolve() if path else CHECKOUT / page
        assert there.exists(), f"{page}: {target}"
        if fragment and there.suffix == ".md":
            assert fragment in anchors(there.read_text(encoding="utf-8")), f"{page}: {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.endswith(".zh-CN.md")], ids=str)
def test_a_chinese_page_and_its_english_one_lead_to_each_other(page):
    chinese = CHECKOUT / page
    english = chinese.with_name(chinese.name.replace(".zh-CN.md", ".md"))
    assert english.exists()
    assert english.name in links(chinese.read_text(encoding="utf-8"))
    assert chinese.name in links(english.read_text(encoding="utf-8"))


def test_every_page_of_the_docs_is_in_their_index():
    index = (CHECKOUT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(links(index))
    for page in sorted((CHECKOUT / "docs").rglob("*.md")):
        name = page.relative_to(CHECKOUT / "docs").as_posix()
        if name not in ("README.md",):
            assert name in listed, name
