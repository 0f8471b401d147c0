"""Which language a person's Lab and its messages have."""

from __future__ import annotations

import pytest

from manylab.base import languages
from manylab.lab import languages as lab


@pytest.mark.parametrize(
    ("header", "offered", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", ["en", "zh_CN"], "zh_CN"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", ["en", "zh_CN"], "en"),
        ("de-DE,de;q=0.9,zh;q=0.5,en;q=0.3", ["en", "zh_CN"], "zh_CN"),
        ("de-DE,de;q=0.9", ["en", "zh_CN"], "en"),
        ("de-AT", ["en", "de_DE", "zh_CN"], "de_DE"),
        ("zh-TW,zh;q=0.9", ["en", "zh_CN", "zh_TW"], "zh_TW"),
        ("zh-Hant-TW", ["en", "zh_CN"], "zh_CN"),
        ("zh;q=0, en", ["en", "zh_CN"], "en"),
        ("zh;q=nonsense, *;q=0.1", ["en", "zh_CN"], "en"),
        (" ZH-cn ; q=0.4 , en;q=0.3", ["en", "zh_CN"], "zh_CN"),
        ("", ["en", "zh_CN"], "en"),
        (";;,,q=", ["en", "zh_CN"], "en"),
    ],
)
def test_the_language_that_a_browser_prefers_is_taken_of_those_that_there_are(header, offered, expected):
    assert languages.choose(header, offered) == expected


@pytest.mark.parametrize(
    ("site", "browser", "expected"),
    [("auto", "zh", "zh_CN"), ("auto", "en", "en"), ("en", "zh", "en"), ("zh_CN", "en", "zh_CN")],
)
def test_a_language_that_the_site_sets_is_everybody_s(site, browser, expected):
    assert lab.of_site({"MANYLAB_LANGUAGE": site}, browser, ["en", "zh_CN"]) == expected


@pytest.mark.parametrize(
    ("chosen", "site", "browser", "expected"),
    [
        ('{"locale": "zh_CN"} // chosen', "en", "en", "zh"),
        ('{"locale": "en"}', "zh_CN", "zh-CN", "en"),
        ('{"locale": "default"}', "zh_CN", "en", "zh"),
        ('{"locale": "default"}', "auto", "zh-CN", "zh"),
        ("{ broken", "auto", "zh-CN", "zh"),
        ("[]", "auto", "fr", "en"),
        (None, "auto", "", "en"),
    ],
)
def test_what_a_person_chose_in_the_lab_comes_first_then_the_site_then_the_browser(
    tmp_path, chosen, site, browser, expected
):
    folder = tmp_path / "@jupyterlab/translation-extension"
    folder.mkdir(parents=True)
    if chosen is not None:
        (folder / "plugin.jupyterlab-settings").write_text(chosen)
    environ = {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path), "MANYLAB_LANGUAGE": site}
    assert lab.of_sentences({"Accept-Language": browser}, environ) == expected
