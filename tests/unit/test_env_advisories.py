"""Known vulnerabilities: asked of a source that has them, and plainly unknown where there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manylab.base.errors import AdvisoriesUnavailable
from manylab.system import advisories

HOLE = {
    "id": "PYSEC-2018-28", "aliases": ["CVE-2018-18074"], "details": "Sends what it should not.\nMore.",
    "summary": "", "fixed_in": ["2.20.0"], "withdrawn": None,
}  # fmt: skip
ANSWERS = {
    "/pypi/requests/2.19.0/json": {"vulnerabilities": [HOLE, {**HOLE, "withdrawn": "2020-01-01"}]},
    "/pypi/numpy/2.0.0/json": {"vulnerabilities": []},
    "/odd/pypi/requests/2.19.0/json": ["something else"],
}


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    """An index with a JSON interface; the public one is nowhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/drip/"):
                self.send_response(200)
                self.end_headers()
                while not over.wait(0.05):
                    self.wfile.write(b" ")
                return
            text = json.dumps(ANSWERS.get(self.path)).encode()
            self.send_response(200 if self.path in ANSWERS else 404)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    over = threading.Event()
    monkeypatch.setattr(advisories, "_PUBLIC", ("http", "127.0.0.1:9", "/simple", "", ""))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()


def test_what_is_known_is_listed_and_what_the_source_does_not_know_is_named(address):
    wanted = [("requests", "2.19.0"), ("numpy", "2.0.0"), ("ours", "1.0")]
    known, unknown = advisories.known(wanted, {"UV_DEFAULT_INDEX": f"{address}/simple/"})
    (one,) = known
    assert (one.package, one.version, one.name, one.aliases) == (
        "requests",
        "2.19.0",
        "PYSEC-2018-28",
        ("CVE-2018-18074",),
    )
    assert one.summary == "Sends what it should not." and one.fixed == ("2.20.0",)
    assert unknown == [("ours", "1.0")]


@pytest.mark.parametrize("path", ["/nothing/simple", "/odd/simple"])
def test_an_index_without_a_list_is_not_taken_for_one_without_vulnerabilities(address, path):
    with pytest.raises(AdvisoriesUnavailable, match="nothing is known"):
        advisories.known([("requests", "2.19.0")], {"UV_DEFAULT_INDEX": f"{address}{path}"})


def test_a_source_that_drips_is_given_up(address, monkeypatch):
    monkeypatch.setattr(advisories, "_PATIENCE", 0.5)
    with pytest.raises(AdvisoriesUnavailable, match="bytes in"):
        advisories.known([("requests", "2.19.0")], {"UV_DEFAULT_INDEX": f"{address}/drip/simple"})


def test_without_a_network_it_is_said_that_nothing_is_known(address):
    with pytest.raises(AdvisoriesUnavailable) as failure:
        advisories.known([("requests", "2.19.0")], {})
    assert failure.value.code == "E-ADVISORIES" and failure.value.hint


def test_a_proxy_is_used(address):
    # A server that is asked as a proxy gets the whole address, and knows nothing of it.
    network = {"UV_DEFAULT_INDEX": "http://index.invalid/simple", "http_proxy": address}
    with pytest.raises(AdvisoriesUnavailable, match=r"index\.invalid: it has no list"):
        advisories.known([("requests", "2.19.0")], network)


def test_the_public_index_is_asked_after_the_site_s_own():
    found = advisories.sources({"UV_DEFAULT_INDEX": "https://mirror.example.org/repo/simple"})
    assert found[0] == "https://mirror.example.org/repo/pypi"
    assert found[1].endswith("/pypi") and len(found) == 2
