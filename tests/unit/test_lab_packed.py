"""Large answers of a server, packed on their way out."""

from __future__ import annotations

import gzip
import json

from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from manylab.lab import packed

SETTINGS = json.dumps({"settings": [{"id": f"@x/{number}", "schema": {}} for number in range(200)]})


class Answer(RequestHandler):
    def get(self):
        if self.get_argument("error", ""):
            self.set_status(500)
        self.finish(self.get_argument("text", SETTINGS))

    post = get

    def check_xsrf_cookie(self):
        pass


class Flushed(RequestHandler):
    def get(self):
        self.write(SETTINGS)
        self.flush()
        self.finish(SETTINGS)


class TestOverHttp(AsyncHTTPTestCase):
    def get_app(self):
        handlers = [(r"/user/a/lab/api/settings/flushed", Flushed), ("/.*", Answer)]
        application = Application(handlers, base_url="/user/a/")
        packed.use(application)
        return application

    def ask(self, path, accepted="gzip", **more):
        return self.fetch(path, headers={"Accept-Encoding": accepted}, decompress_response=False, **more)

    def test_settings_translations_and_language_servers_are_packed(self):
        for path in ("lab/api/settings?1795", "lab/api/translations/zh_CN", "lsp/status"):
            answer = self.ask(f"/user/a/{path}")
            assert gzip.decompress(answer.body).decode() == SETTINGS
            assert answer.headers["Content-Length"] == str(len(answer.body))
            assert answer.headers["Vary"] == "Accept-Encoding"

    def test_nothing_else_is(self):
        for path in ("/user/a/lab", "/user/a/api/contents/x", "/lab/api/settings", "/user/b/lab/api/settings"):
            answer = self.ask(path)
            assert (answer.body.decode(), answer.headers.get("Content-Encoding")) == (SETTINGS, None)

    def test_whoever_does_not_take_it_is_sent_the_answer_itself(self):
        answer = self.ask("/user/a/lab/api/settings", "br")
        assert (answer.body.decode(), answer.headers["Vary"]) == (SETTINGS, "Accept-Encoding")

    def test_what_is_small_in_parts_wrong_or_no_question_is_sent_as_it_is(self):
        assert self.ask("/user/a/lab/api/settings?text=short").body == b"short"
        assert self.ask("/user/a/lab/api/settings/flushed").body.decode() == SETTINGS * 2
        assert self.ask("/user/a/lab/api/settings?error=1").body.decode() == SETTINGS
        assert self.ask("/user/a/lab/api/settings", method="POST", body="").body.decode() == SETTINGS

    def test_the_same_answer_is_packed_once(self):
        packed.pack.cache_clear()
        for _ in range(3):
            self.ask("/user/a/lab/api/settings")
        assert packed.pack.cache_info().misses == 1
