"""What the nursery of servers does before its first fork: imports all that a server imports, and runs through a start.

A start and the first requests of JupyterLab, with nobody's files, in this process: afterwards what is imported late is
imported, compiled expressions and templates are there, and Python has specialised the code that every child will run
(PEP 659), so that no child does it again, each in its own copy of the pages. Then everything is thrown away again. What
is kept are modules and what they keep about themselves; nothing that was read from a person's or the scratch folder.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import gc
import importlib
import io
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MethodType
from typing import Any

import zmq
from jupyter_core.utils import ensure_event_loop
from jupyter_server.base.handlers import FileFindHandler
from jupyter_server.extension.manager import ExtensionManager
from jupyter_server.prometheus import metrics
from jupyter_server.serverapp import ServerApp
from jupyterhub.httpclient import JupyterHubHTTPClient
from prometheus_client.metrics import MetricWrapperBase
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler
from traitlets.config import SingletonConfigurable

from manylab.lab import audience, known, server, unasked
from manylab.warm import pages, scratch

# Imported by a server only when it first needs them: a kernel's start, a notebook's, a terminal's.
LATE = (
    "encodings.idna",
    "ipykernel",
    "jupyter_client.asynchronous",
    "jupyter_client.provisioning.local_provisioner",
    "nbformat.sign",
    "sqlite3",
    "terminado.management",
    "zmq.asyncio",
)
ROUNDS = 2  # after the first two, which import and lay out: to specialise code takes several calls


def prepare() -> None:
    """Call once, in a process with one thread. What fails is said and left out: children then start slower."""
    for name in LATE:
        try:
            importlib.import_module(name)
        except Exception:
            traceback.print_exc()
    known.use()
    unasked.use()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            rehearse()
            # Now everything is imported.
            known.use()
            pages.lay_together(rehearse)
            for _ in range(ROUNDS):
                rehearse()
    except Exception:
        print(said.getvalue(), file=sys.stderr)
        traceback.print_exc()


def rehearse() -> None:
    """One start, the first visit of a browser, and an end, with everything put back."""
    # Jupyter keeps the loop of a thread in a context variable; a child needs another loop.
    contextvars.copy_context().run(_rehearse)


def _rehearse() -> None:
    folder = scratch.new()
    try:
        with as_it_was(), unpatched(), without_farewells():
            loop = ensure_event_loop()
            try:
                _perform(loop, folder)
            finally:
                _end(loop)
    finally:
        forget()
        shutil.rmtree(folder, ignore_errors=True)


def _perform(loop: asyncio.AbstractEventLoop, folder: Path) -> None:
    environ = audience.environ(folder)
    hub = loop.run_until_complete(audience.open_hub(folder))
    app = server.build(environ)
    app.allow_root = True  # where the nursery is root's; a person's server never is
    try:
        app.start_app()
        loop.run_until_complete(audience.visit(app))
    finally:
        loop.run_until_complete(_close(app))
        hub.stop()


async def _close(app: ServerApp) -> None:
    await app._cleanup()
    await app.http_server.close_all_connections()
    await JupyterHubHTTPClient.loop_instance().close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    IOLoop.current().close()  # and with it `loop`
    asyncio.set_event_loop(None)


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Environment, folder and signal handlers: afterwards as before."""
    environ, folder = dict(os.environ), Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)


@contextlib.contextmanager
def unpatched() -> Iterator[None]:
    """Classes that a server patches: JupyterHub those of handlers (with the person's own authentication in them),
    notebook_shim the order of extensions and where they are looked for. Afterwards as before.
    """
    patched = (ExtensionManager, ServerApp, RequestHandler, *_subclasses(RequestHandler))
    before = {cls: dict(vars(cls)) for cls in patched}
    try:
        yield
    finally:
        for cls, attributes in before.items():
            for name, value in list(vars(cls).items()):
                if name not in attributes:
                    delattr(cls, name)
                elif attributes[name] is not value:
                    setattr(cls, name, attributes[name])


@contextlib.contextmanager
def without_farewells() -> Iterator[None]:
    """What objects of the rehearsal want to be told at exit: nothing, they are gone by then. Modules keep theirs."""
    register = atexit.register
    registered: list[MethodType] = []

    def listening(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if isinstance(function, MethodType) and not isinstance(function.__self__, type):
            registered.append(function)
        return register(function, *args, **kwargs)

    atexit.register = listening  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register
        for function in registered:
            atexit.unregister(function)


def forget() -> None:
    """What a start leaves in modules, and what would keep the server of the rehearsal alive."""
    for cls in _subclasses(SingletonConfigurable):
        if vars(cls).get("_instance") is not None:
            cls._instance = None  # type: ignore[attr-defined]
    # Where files were found, whoever's folders are searched.
    FileFindHandler._static_paths.clear()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            _reset(metric)
    if (context := zmq.Context._instance) is not None:
        context.term()
        zmq.Context._instance = None
    for found in gc.get_objects():
        kind = type(found)
        if kind is functools._lru_cache_wrapper:
            if _of_jupyter(found):
                found.cache_clear()
        elif kind is ThreadPoolExecutor and found._threads:
            # One that a class keeps for itself: its threads are not copied by a fork, and it would wait for them.
            found.shutdown(wait=True)
            found.__init__(max_workers=found._max_workers)
    gc.collect()


def _of_jupyter(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("jupyter")


def _reset(metric: MetricWrapperBase) -> None:
    if metric._labelnames:
        metric.clear()
    else:
        metric._metric_init()  # type: ignore[no-untyped-call,unused-ignore]
        # A gauge that asks a function: this server's.
        metric.__dict__.pop("_child_samples", None)


def _subclasses(cls: type) -> Iterator[type]:
    sub: type
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)
