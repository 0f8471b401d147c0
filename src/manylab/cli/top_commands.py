"""top: who uses what, now."""

from __future__ import annotations

import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from manylab.base import names
from manylab.base.errors import BadName, NotInstalled
from manylab.cli.app import JsonOption, app, command
from manylab.cli.context import Context, exists, make_context
from manylab.cli.look import top_processes, top_screen
from manylab.cli.look.top_members import Server, from_warden
from manylab.cli.look.top_sample import Sample, Sampler, began
from manylab.cli.result import Result
from manylab.system import servers as running
from manylab.warm import wire

# Seconds between the two looks of `--once` and `--json`: long enough for a percentage that means something.
_ONCE = 1.0


@command(app, "top", example="sudo manylab top")
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one table and end; so does output to a file.")] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")] = 2.0,
    sort: Annotated[
        Literal["memory", "cpu", "tasks", "user"], typer.Option("--sort", help="What comes first.")
    ] = "memory",
    parts: Annotated[bool, typer.Option("--parts/--no-parts", help="A line for each kernel and terminal too.")] = True,
    as_json: JsonOption = False,
) -> Result:
    """Show people's servers and kernels: memory, processors, tasks, live. Root sees everybody, others see their own.

    OWN is memory that would be free if the server and all it started ended. SHARED is its part of memory that several
    use, such as what warm servers and kernels have in common: a page that ten use counts a tenth for each. OWN and
    SHARED of all together are what is really in use. CPU is in percent of one processor. LIMIT is the memory the
    server may use, if there is a limit.

    Keys: M, P, T, U sort by memory, cpu, tasks or user; K shows or hides kernels and terminals; arrows scroll; Q ends.
    """
    context = make_context(as_json)
    if not exists(context.layout):
        raise NotInstalled("there is no site on this machine yet", hint="sudo ./manylab up builds one and serves it")
    sampler = Sampler(lambda: find(context))
    view = top_screen.View(top_screen.SORTS[sort], parts)
    if not (once or as_json) and sys.stdout.isatty():
        top_screen.live(sampler.look, view, interval)
        return Result()
    sample = _twice(sampler)
    return Result(sample.as_json(), top_screen.as_text(sample, view))


def _twice(sampler: Sampler) -> Sample:
    sampler.look(budget=0.0)  # for the processors; memory is read once, afterwards
    time.sleep(_ONCE)
    return sampler.look()


def find(context: Context) -> list[Server]:
    """Running servers: as the warden lists them, or, for somebody it does not answer, their own."""
    layout = context.layout
    if layout.system and not context.root:
        return own(layout.servers_run, pwd.getpwuid(os.getuid()).pw_name)
    return from_warden(running.running(layout.warden_socket))


def own(folder: Path, name: str) -> list[Server]:
    """This person's servers: who listens on the sockets in their folder, which nobody but they can make."""
    found = []
    for path in sorted((folder / names.folder(name)).glob("*/server.sock")) if _named(name) else ():
        pid = listener(path)
        reading = top_processes.read(pid) if pid else None
        if reading is not None:
            booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
            server = "" if path.parent.name == names.server_folder("") else path.parent.name
            found.append(Server(name, server, os.getuid(), reading.process, booted + began(reading)))
    return found


def listener(path: Path) -> int | None:
    """The process that listens on a unix socket, from the kernel (SO_PEERCRED); None when none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            peer = wire.peer_of(connection)
        except OSError:
            return None
    return peer.pid if peer.uid == os.getuid() and peer.pid else None


def _named(name: str) -> bool:
    try:
        return bool(names.account(name))
    except BadName:
        return False
