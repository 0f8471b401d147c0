"""Packed files of web pages, over HTTP from tornado's own handler."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, StaticFileHandler

from manylab.base import packed
from manylab.model.environments import HUB, SERVER
from manylab.system.environments import packing

TEXT = b"export const answer = 42;\n" * 400
STATIC = "share/jupyter/lab/static"


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip, deflate, br, zstd", True),
        ("GZip", True),
        ("x-gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("gzip; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("identity", False),
        ("", False),
        ("*", False),
        ("gzippo", False),
    ],
)
def test_a_browser_is_sent_packed_files_if_it_says_that_it_takes_them(accepted, taken):
    assert packed.takes_gzip(accepted) is taken


def test_what_the_answer_depends_on_is_added_to_what_is_said_already():
    headers = {}
    packed.say_so(headers)
    assert headers == {"Vary": "Accept-Encoding"}
    headers = {"Vary": "Cookie"}
    packed.say_so(headers)
    assert headers == {"Vary": "Cookie, Accept-Encoding"}


def handlers():
    """Two classes, so that tornado's is left alone. The second changes what it reads, as that of themes."""

    class Files(StaticFileHandler):
        pass

    class Changing(Files):
        @classmethod
        def get_content(cls, abspath, start=None, end=None):
            return b"changed"

        def get_content_size(self):
            return len(b"changed")

    return Files, Changing


class TestOverHttp(AsyncHTTPTestCase):
    @pytest.fixture(autouse=True)
    def _environment(self, tmp_path):
        self.prefix = tmp_path / "env"
        self.static = self.prefix / STATIC
        self.static.mkdir(parents=True)
        (self.static / "main.js").write_bytes(TEXT)
        (self.static / "small.js").write_bytes(b"1")
        (self.static / "picture.png").write_bytes(TEXT)
        packing.pack(SERVER, self.prefix)
        self.other = tmp_path / "home"
        self.other.mkdir()
        (self.other / "own.js").write_bytes(TEXT)
        (self.other / "own.js.gz").write_bytes(b"not of this file")
        for name in ("own.js", "own.js.gz"):
            os.utime(self.other / name, ns=(1, 1))

    def get_app(self):
        files, changing = handlers()
        packed.use(files, (str(self.prefix / "share"),))
        packed.use(files, (str(self.prefix / "share"),))
        return Application(
            [
                ("/static/(.*)", files, {"path": str(self.static)}),
                ("/changed/(.*)", changing, {"path": str(self.static)}),
                ("/own/(.*)", files, {"path": str(self.other)}),
            ]
        )

    def ask(self, path, accepted="gzip", **more):
        headers = {"Accept-Encoding": accepted, **more}
        return self.fetch(path, headers=headers, decompress_response=False)

    def test_it_is_the_same_file(self):
        answer = self.ask("/static/main.js")
        assert answer.code == 200
        assert gzip.decompress(answer.body) == TEXT
        assert len(answer.body) < len(TEXT) / 10
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert answer.headers["Content-Type"].startswith(("text/javascript", "application/javascript"))
        assert answer.headers["Vary"] == "Accept-Encoding"

    def test_whoever_does_not_take_it_is_sent_the_file_itself(self):
        answer = self.ask("/static/main.js", "identity")
        assert (answer.body, answer.headers.get("Content-Encoding")) == (TEXT, None)
        assert answer.headers["Vary"] == "Accept-Encoding"

    def test_a_part_is_one_of_the_file_itself(self):
        answer = self.ask("/static/main.js", Range="bytes=3-9")
        assert (answer.code, answer.body) == (206, TEXT[3:10])
        assert "Content-Encoding" not in answer.headers

    def test_what_is_asked_about_and_not_for_has_no_body(self):
        answer = self.fetch(
            "/static/main.js", method="HEAD", headers={"Accept-Encoding": "gzip"}, decompress_response=False
        )
        assert (answer.body, answer.headers["Content-Encoding"]) == (b"", "gzip")
        assert int(answer.headers["Content-Length"]) == (self.static / "main.js.gz").stat().st_size

    def test_a_browser_that_has_it_is_told_so(self):
        etag = self.ask("/static/main.js").headers["Etag"]
        answer = self.ask("/static/main.js", **{"If-None-Match": etag})
        assert (answer.code, answer.body) == (304, b"")
        assert "Content-Encoding" not in answer.headers

    def test_small_files_and_pictures_are_as_they_are(self):
        assert self.ask("/static/small.js").body == b"1"
        assert self.ask("/static/picture.png").body == TEXT
        assert sorted(path.name for path in self.static.glob("*.gz")) == ["main.js.gz"]

    def test_what_a_handler_changes_is_not_packed(self):
        answer = self.ask("/changed/main.js")
        assert (answer.body, answer.headers.get("Content-Encoding")) == (b"changed", None)

    def test_what_others_have_beside_their_files_is_not_looked_at(self):
        assert self.ask("/own/own.js").body == TEXT

    def test_a_file_that_was_changed_since_is_sent_itself(self):
        (self.static / "main.js").write_bytes(b"new" * 1000)
        assert self.ask("/static/main.js").body == b"new" * 1000


def test_a_generation_shares_what_the_one_before_has_packed(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / STATIC).mkdir(parents=True)
    (one / STATIC / "same.js").write_bytes(TEXT)
    (one / STATIC / "other.js").write_bytes(TEXT)
    packing.pack(SERVER, one)
    (two / STATIC / "same.js").hardlink_to(one / STATIC / "same.js")
    (two / STATIC / "other.js").write_bytes(TEXT + b"1")
    packing.pack(SERVER, two, (tmp_path / "gone", one))
    same, other = (two / STATIC / f"{name}.js.gz" for name in ("same", "other"))
    assert same.samefile(one / STATIC / "same.js.gz")
    assert gzip.decompress(other.read_bytes()) == TEXT + b"1"


def test_a_packages_own_file_of_that_name_and_all_links_stay_as_they_are(tmp_path):
    static = tmp_path / STATIC
    static.mkdir(parents=True)
    (static / "main.js").write_bytes(TEXT)
    (static / "main.js.gz").write_bytes(b"theirs")
    (tmp_path / "secret.js").write_bytes(TEXT)
    (static / "link.js").symlink_to(tmp_path / "secret.js")
    packing.pack(SERVER, tmp_path)
    assert (static / "main.js.gz").read_bytes() == b"theirs"
    assert sorted(path.name for path in static.iterdir()) == ["link.js", "main.js", "main.js.gz"]


@pytest.mark.parametrize(("name", "packs"), [(HUB, True), (SERVER, False), ("default", False)])
def test_each_environment_has_what_its_own_pages_need(tmp_path, name, packs):
    css = tmp_path / "share/jupyterhub/static/css/style.min.css"
    css.parent.mkdir(parents=True)
    css.write_bytes(TEXT)
    packing.pack(name, tmp_path)
    assert Path(f"{css}.gz").exists() is packs
