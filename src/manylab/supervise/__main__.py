"""`python -I -m manylab.supervise SERVICES.JSON`: the supervisor itself, and what the init script asks of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from manylab.base.errors import ConfigError, ManylabError, Refused
from manylab.supervise import control, execution, processes
from manylab.supervise.definition import load
from manylab.supervise.fleet import Request
from manylab.supervise.guardian import guard
from manylab.supervise.inner import EXIT_CONFIG, Inner
from manylab.supervise.output import Output
from manylab.supervise.processes import Identity
from manylab.system.http import status_of

_ANSWERS_WITHIN = 5.0  # seconds
_NOT_PERMITTED = 4  # LSB: user had insufficient privilege


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m manylab.supervise", description=__doc__)
    parser.add_argument("services_json", type=Path)
    parser.add_argument("--foreground", action="store_true", help="stop everything when this process ends")
    parser.add_argument("--verbose", action="store_true", help="show the services' log lines")
    parser.add_argument("--ready-url", help="with --ready-text: the address that must answer before it is printed")
    parser.add_argument("--ready-text", help="printed once, when the site answers")
    action = parser.add_mutually_exclusive_group()
    for name in ("start", "stop", "restart", "reload", "status"):
        action.add_argument(f"--{name}", dest="action", action="store_const", const=name)
    parser.add_argument("--all", action="store_true", help="with --restart: people's servers too")
    parser.add_argument(
        "--state", type=Path, help="with --status: the state folder, when services.json is not readable"
    )
    parser.add_argument("--json", action="store_true", help="with --status")
    # What guardian and inner process say to each other.
    parser.add_argument("--inner", metavar="PID:STARTTIME", help=argparse.SUPPRESS)
    parser.add_argument("--note-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--request", default=Request.SERVE.value, help=argparse.SUPPRESS)
    parser.add_argument("--taken-over", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    options = _parser().parse_args(arguments)
    path: Path = options.services_json.absolute()
    try:
        if options.inner is not None:
            return _inner(path, options)
        if options.action is not None:
            return _act(path, options)
        _prepare(path, options)
        return guard(path, foreground=options.foreground, verbose=options.verbose, on_ready=lambda: _announce(options))
    except ManylabError as error:
        print(f"manylab: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        for line in error.data.get("lines", []):
            print(f"    {line}", file=sys.stderr)
        return EXIT_CONFIG if isinstance(error, ConfigError) and options.action is None else 1


def _prepare(path: Path, options: argparse.Namespace) -> None:
    """Before it is the guardian. In the foreground that is a program of its terminal; what it starts is not."""
    if options.foreground:
        execution.check(path)
    elif not options.taken_over:  # else it was the inner process until now, and its signals have to wait
        execution.enter(path)


def _announce(options: argparse.Namespace) -> None:
    """Print the site's address when it answers there: sockets are ready a moment before the proxy knows its routes.

    The guardian waits here, so not for long: what answers late is announced all the same.
    """
    if options.ready_text is None:
        return
    deadline = time.monotonic() + _ANSWERS_WITHIN
    while options.ready_url and status_of(options.ready_url, timeout=1) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    Output(timestamps=False).say(options.ready_text)


def _inner(path: Path, options: argparse.Namespace) -> int:
    pid, _, starttime = options.inner.partition(":")
    guardian = Identity(int(pid), int(starttime), processes.boot_id()) if int(pid) else None
    # What is only there to stop something does so from wherever it is.
    with contextlib.suppress(*([] if options.request == Request.SERVE.value else [Refused])):
        execution.enter(path)
    if options.note_fd is not None:
        os.set_inheritable(options.note_fd, False)
    return Inner(
        path,
        foreground=options.foreground,
        guardian=guardian,
        note_fd=options.note_fd,
        request=Request(options.request),
        verbose=options.verbose,
    ).run()


def may_change(path: Path) -> bool:
    """Whether this user may start and stop the site: root, or whoever owns services.json."""
    try:
        return os.geteuid() in (0, path.stat().st_uid)
    except OSError:
        return False


def _act(path: Path, options: argparse.Namespace) -> int:
    if options.action == "status":
        try:
            found = control.status(options.state or load(path).state)
        except ConfigError as error:
            print(f"manylab: not known ({error.message})", file=sys.stderr)
            return control.UNKNOWN
        print(json.dumps(found.record.as_json() if found.record else None) if options.json else found.text)
        return found.code
    if not may_change(path):
        print("manylab: only root can do that", file=sys.stderr)
        return _NOT_PERMITTED
    execution.check_processes()
    if options.action == "start":
        control.start(path)
    elif options.action == "stop":
        control.stop(path)
    elif options.action == "restart":
        control.restart(path, keep_servers=not options.all)
    else:
        control.reload(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
