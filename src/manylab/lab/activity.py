"""A server is not idle while it computes: keeps the culler away from silent long jobs.

JupyterHub's culler looks at when a server was last active, and a kernel that computes without printing, or a program
in a terminal, is not activity for Jupyter (jupyterhub#1498). This extension of the server looks every so often whether
anything runs and, if so, counts that as activity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from tornado.ioloop import PeriodicCallback

SOURCE = "manylab-busy"
# Seconds; more often where the hub hears of activity more often, so that what is reported is never older than a report.
EVERY = 30.0


def every(environ: Mapping[str, str]) -> float:
    """How often to look, by JUPYTERHUB_ACTIVITY_INTERVAL (seconds between two reports)."""
    try:
        interval = float(environ.get("JUPYTERHUB_ACTIVITY_INTERVAL", ""))
    except ValueError:
        return EVERY
    return min(EVERY, max(1.0, interval / 2))


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


def look(settings: dict[str, Any], now: datetime) -> bool:
    """One look; settings are the web application's. Returns whether anything runs."""
    busy = busy_kernels(_kernel_states(settings["kernel_manager"])) or _busy_terminals(settings.get("terminal_manager"))
    if busy:
        settings["last_activity_times"][SOURCE] = now
    return busy


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    def again() -> None:
        try:
            look(server.web_app.settings, datetime.now(timezone.utc))
        except Exception:
            server.log.exception("Could not look for running work; this server may look idle")

    callback = PeriodicCallback(again, every(os.environ) * 1000)
    callback.start()
    # Kept alive by the server, which has no other use for it.
    server.manylab_activity = callback
