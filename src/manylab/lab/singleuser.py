"""JupyterHub's extension of a person's server, without the questions to the hub that hold up a start."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import shutil
from collections.abc import Callable
from typing import Any

from aiohttp import ThreadedResolver
from jupyterhub.httpclient import JupyterHubHTTPClient
from jupyterhub.services.auth import HubAuth

# The extension and nothing else of jupyterhub.singleuser: its `app` patches handler classes, and then pages answer 500.
from jupyterhub.singleuser.extension import JupyterHubSingleUser

from manylab.lab import activity, config

# Seconds: how long after its start a server reports for the first time.
FIRST_REPORT = 60.0


class SiteServer(JupyterHubSingleUser):  # type: ignore[misc,unused-ignore]
    """Ready without a word of the hub's, which is busy enough when a whole class comes in."""

    @classmethod
    def get_extension_package(cls) -> str:
        # Where Jupyter Server looks for the extension; JupyterHub's own answer, the top package, is not one here.
        return __name__

    async def check_hub_version(self) -> None:
        """Asks nothing: both come from one release, and the hub compares when it first asks a new server.

        The hub has a socket or an address, so nothing of c-ares is needed: it has a thread and several descriptors.
        """
        JupyterHubHTTPClient.instance(connector_options={"resolver": ThreadedResolver()})

    def initialize(self, args: Any = None) -> None:
        """As JupyterHub's own; and no page asks whether JupyterLab should be built anew."""
        super().initialize(args)
        # A page that would open it, with the token in it. No setting, though it looks like one.
        self.serverapp.no_browser_open_file = True
        # Nobody can build it: the server environment is not theirs. To find out that no build is needed takes half a
        # second of CPU each time a browser opens JupyterLab.
        page = self.serverapp.web_app.settings.setdefault("page_config_data", {})
        page.update(buildCheck=False, buildAvailable=False)
        # Not in `page`: there the list that is read from disk would take its place.
        settings = self.serverapp.web_app.settings
        settings["page_config_hook"] = functools.partial(with_what_works, settings["page_config_hook"])

    async def keep_activity_updated(self) -> None:
        """As JupyterHub's own, but later: the hub has just noted that this server is active, for it was started."""
        # Not all at once a minute after they were started all at once.
        await asyncio.sleep(min(FIRST_REPORT, self.hub_activity_interval / 2) * (0.5 + random.random()))  # noqa: S311
        activity.of(self.serverapp.web_app.settings).on_return(self.notify_activity)
        await super().keep_activity_updated()


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": __name__, "app": SiteServer}]


def with_what_works(hook: Callable[[Any, Any], dict[str, Any]], handler: Any, page: Any) -> dict[str, Any]:
    """What `hook` (JupyterHub's) makes of the page's settings, without extensions whose program is not there, or which
    ours replaces.
    """
    made = hook(handler, page)
    disabled = {*made.get("disabledExtensions", ()), *config.without_a_program(shutil.which), *config.REPLACED}
    return {**made, "disabledExtensions": sorted(disabled)}


def take_tokens_of_websockets(auth: Any = HubAuth) -> None:
    """Have a websocket's address hold the token, whoever opens it.

    JupyterHub means to (no token in the address of a page, since a link would sign somebody in; but in that of a
    websocket, where many programs cannot send headers), and knows a websocket by what only browsers say. An editor such
    as VS Code then starts a kernel and cannot speak to it.
    """
    real = auth._get_token_url
    if getattr(real, "of_manylab", False):
        return

    def get_token_url(self: Any, handler: Any) -> str:
        if handler.request.headers.get("Upgrade", "").lower() == "websocket":
            return str(handler.get_argument("token", ""))
        return str(real(self, handler))

    get_token_url.of_manylab = True  # type: ignore[attr-defined]
    auth._get_token_url = get_token_url


def load_other_extensions() -> bool:
    """What JupyterHub reads when it is imported, which in a nursery is before anybody's environment is known."""
    return os.environ.get("JUPYTERHUB_SINGLEUSER_LOAD_OTHER_EXTENSIONS", "1") not in {"", "0"}
