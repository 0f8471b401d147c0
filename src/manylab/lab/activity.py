"""When a server was last used, which decides when `servers.idle_timeout` ends it.

Use is work (a kernel that computes, even silently; a program in the foreground of a terminal) and input (a request
that changes something, a page that is opened, keys in a terminal, a message to a web application). The questions that
an open tab asks by itself every few seconds are none, so a tab left open is idle like one that was closed. Jupyter's
own idea counts all requests and everything that a terminal shows, and not what computes in silence (jupyterhub#1498).
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from tornado.ioloop import PeriodicCallback

_BUSY: Final = "manylab-busy"
_INPUT: Final = "manylab-input"
_SETTING: Final = "manylab_activity"
# Of the times that Jupyter Server and its extensions keep, those that a tab sets by being open.
_OF_A_TAB: Final = frozenset({"api_last_activity", "terminal_last_activity", "jupyter-server-proxy"})
_ASKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Below the server's address: what the Lab sends by itself with other methods. jupyterlab-git asks with POST, every few
# seconds; how windows lie is written down as well when a page is only loaded again.
_OF_THE_LAB: Final = ("git/", "lab/api/workspaces/")
# Of the kernel: how much memory it has, which jupyter-resource-usage asks for.
_UNTRACKED: Final = ("usage_request", "usage_reply")
# Seconds; more often where the hub hears of activity more often, so that what is reported is never older than a report.
EVERY = 30.0


def interval(environ: Mapping[str, str]) -> float:
    """Seconds between two reports to the hub: JUPYTERHUB_ACTIVITY_INTERVAL, or JupyterHub's own 300."""
    try:
        return float(environ.get("JUPYTERHUB_ACTIVITY_INTERVAL", ""))
    except ValueError:
        return 300.0


def every(environ: Mapping[str, str]) -> float:
    """How often to look whether something runs, in seconds."""
    return min(EVERY, max(1.0, interval(environ) / 2))


def is_input(method: str, path: str, fetch_mode: str) -> bool:
    """Whether somebody caused a request, rather than an open tab. path: below the server's address. Pure."""
    if method in _ASKING:
        return fetch_mode == "navigate"
    return not path.startswith(_OF_THE_LAB)


def last_use(settings: Mapping[str, Any]) -> datetime:
    """settings: the web application's. In the place of its own `last_activity`."""
    times = [settings["started"], settings["kernel_manager"].last_kernel_activity]
    times += [value for key, value in settings.items() if key.endswith("_last_activity") and key not in _OF_A_TAB]
    times += [value for key, value in settings["last_activity_times"].items() if key not in _OF_A_TAB]
    last: datetime = max(times)
    return last


def busy_kernels(states: Iterable[str | None]) -> bool:
    """Whether one of the kernels computes. "starting" does not count: a kernel that never starts says so for ever."""
    return any(state == "busy" for state in states)


def busy_terminal(foreground_group: int, shell_group: int) -> bool:
    """Whether something other than the shell itself holds the terminal."""
    return foreground_group > 0 and foreground_group != shell_group


def _kernel_states(manager: Any) -> list[str | None]:
    return [getattr(manager.get_kernel(kernel_id), "execution_state", None) for kernel_id in manager.list_kernel_ids()]


def _busy_terminals(manager: Any) -> bool:
    for terminal in list(getattr(manager, "terminals", {}).values()):
        process = terminal.ptyproc
        try:
            if busy_terminal(os.tcgetpgrp(process.fd), os.getpgid(process.pid)):
                return True
        except OSError:
            # It has just ended.
            continue
    return False


class Activity:
    """Of one server. settings: the web application's."""

    def __init__(self, settings: dict[str, Any], interval: float) -> None:
        self._settings, self._interval = settings, interval
        self._seen = last_use(settings)
        self._report: Callable[[], Awaitable[Any]] | None = None
        self._reporting: asyncio.Future[Any] | None = None

    def on_return(self, report: Callable[[], Awaitable[Any]]) -> None:
        """Have `report` called at once when the server is used again after more than a report's interval: the hub
        must not end a server for being idle in the minute in which its owner is back.
        """
        self._report = report

    def used(self) -> None:
        """Somebody has just done something."""
        self._settings["last_activity_times"][_INPUT] = datetime.now(timezone.utc)
        self._compare()

    def look(self) -> bool:
        """Whether anything runs; if so, that is use."""
        settings = self._settings
        busy = busy_kernels(_kernel_states(settings["kernel_manager"]))
        busy = busy or _busy_terminals(settings.get("terminal_manager"))
        if busy:
            settings["last_activity_times"][_BUSY] = datetime.now(timezone.utc)
        self._compare()
        return busy

    def _compare(self) -> None:
        before, self._seen = self._seen, last_use(self._settings)
        idle = (self._seen - before).total_seconds()
        if idle > self._interval and self._report and (self._reporting is None or self._reporting.done()):
            self._reporting = asyncio.ensure_future(self._report())


def of(settings: Mapping[str, Any]) -> Activity:
    """That of the server with these settings of its web application."""
    found = settings[_SETTING]
    assert isinstance(found, Activity)
    return found


def used(settings: Mapping[str, Any]) -> None:
    """Somebody has just done something in the server with these settings; nothing where it is only rehearsed."""
    if isinstance(found := settings.get(_SETTING), Activity):
        found.used()


def note_requests(settings: dict[str, Any]) -> None:
    """Look at each request when it has been answered."""
    log, base = settings["log_function"], settings["base_url"]

    def noting(handler: Any) -> None:
        log(handler)
        request = handler.request
        # As Jupyter Server does for its own idea: a stranger's request is nobody's use.
        if getattr(handler, "_jupyter_current_user", None) and is_input(
            request.method, request.path.removeprefix(base), request.headers.get("Sec-Fetch-Mode", "")
        ):
            used(settings)

    settings["log_function"] = noting


def note_messages() -> None:
    """Look at each message to a terminal, a web application and a shared document, once for all servers."""
    terminals: Any = sys.modules.get("jupyter_server_terminals.handlers")
    applications: Any = sys.modules.get("jupyter_server_proxy.handlers")
    raw: Any = sys.modules.get("jupyter_server_proxy.rawsocket")
    documents: Any = sys.modules.get("jupyter_server_ydoc.handlers")
    if terminals is not None:
        _note(terminals.TermSocket, typed)
    if applications is not None:
        _note(applications.ProxyHandler, lambda message: True)
    if raw is not None:
        _note(raw.RawSocketHandler, lambda message: True)
    if documents is not None:
        _note(documents.YDocWebSocketHandler, changed)


def typed(message: str | bytes) -> bool:
    """Whether a message to a terminal is keys, rather than the size of its window. Pure."""
    try:
        said = json.loads(message)
    except ValueError:
        return False
    return isinstance(said, list) and said[:1] == ["stdin"]


def changed(message: str | bytes) -> bool:
    """Whether a message about a shared document changes it: sync (0), update (2) in the protocol of Yjs. Pure."""
    return isinstance(message, bytes) and message[:2] == b"\x00\x02"


def _note(handler: Any, counts: Callable[[str | bytes], bool]) -> None:
    real = handler.on_message
    if getattr(real, "of_manylab", False):
        return

    @functools.wraps(real)
    def on_message(self: Any, message: str | bytes) -> Any:
        if counts(message):
            used(self.settings)
        return real(self, message)

    on_message.of_manylab = True  # type: ignore[attr-defined]
    handler.on_message = on_message


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    settings = server.web_app.settings
    activity = settings[_SETTING] = Activity(settings, interval(os.environ))
    note_requests(settings)
    # What JupyterHub reports, and what else asks Jupyter Server when it was last active.
    server.web_app.last_activity = functools.partial(last_use, settings)
    kernels = server.kernel_manager
    kernels.untracked_message_types = [*kernels.untracked_message_types, *_UNTRACKED]

    def again() -> None:
        try:
            activity.look()
        except Exception:
            server.log.exception("Could not look for running work; this server may look idle")

    callback = PeriodicCallback(again, every(os.environ) * 1000)
    callback.start()
    # Kept alive by the server, which has no other use for it.
    server.manylab_activity = callback
