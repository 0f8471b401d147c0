"""Kernels of one environment: what its nursery has ready, and how a child of it becomes a kernel like a cold one."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import traceback
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from manylab.warm import (
    appearance,
    askers,
    dash_f,
    hidden,
    history,
    identity,
    ipc,
    libraries,
    memory,
    process,
    renewal,
    scratch,
    streams,
    takeover,
    traces,
    variables,
    wire,
)
from manylab.warm.recorder import Recorder

_PATIENCE: Final = 5.0  # seconds for the server to agree
# Imported by every kernel after its start, by its first cell, completion, inspection, errors.
_LATE: Final = (
    *("ipykernel.debugger", "ipykernel.comm", "ipykernel.subshell_manager", "ipykernel.trio_runner", "faulthandler"),
    *("IPython.core.completer", "IPython.core.completerlib", "IPython.core.historyapp", "IPython.core.magics"),
    *("IPython.core.debugger", "IPython.core.debugger_backport", "IPython.core.logger", "IPython.core.oinspect"),
    *("IPython.core.pylabtools", "IPython.core.latex_symbols", "IPython.core.tbtools", "IPython.core.ultratb"),
    *("IPython.extensions.storemagic", "IPython.external.pickleshare", "IPython.lib.pretty", "IPython.utils.wildcard"),
    *("jedi", "jedi.api", "jedi.api.interpreter", "sqlite3", "psutil", "tornado.platform.asyncio"),
    *("pygments.lexers.python", "pygments.formatters.terminal256", "pygments.formatters.html"),
    *("pygments.styles.default", "stack_data", "executing", "asttokens", "json", "cProfile", "pdb", "bdb"),
    *("encodings.idna", "encodings.ascii", "encodings.latin_1", "multiprocessing"),
)
# What those that are preloaded import when they are first used.
_WHEN_USED: Final[Mapping[str, tuple[str, ...]]] = {
    "numpy": ("numpy.random", "numpy.linalg", "numpy.fft", "numpy.ma"),
    "pandas": ("pandas.io.formats.html", "pandas.io.formats.string", "pandas.io.formats.csvs", "pandas.io.parsers"),
    "matplotlib.pyplot": (
        *("matplotlib.backends.backend_agg", "PIL.BmpImagePlugin", "PIL.GifImagePlugin"),
        *("PIL.JpegImagePlugin", "PIL.PpmImagePlugin", "PIL.PngImagePlugin", "PIL.features"),
    ),
}
# In the order of `python -m ipykernel_launcher`, whose own imports come first.
_STARTUP: Final = """
import runpy, ipykernel_launcher, ipykernel.kernelapp, json, sys
print(json.dumps([name for name in sys.modules if name != "ipykernel_launcher"]))
"""


class _Ready:
    """What `prepare` found out, for the children."""

    def __init__(self) -> None:
        self.hidden = hidden.Hidden()
        self.environ: dict[str, str] = {}
        self.readers: dict[str, set[str]] = {}
        self.libraries: set[str] = set()
        self.path: list[str] = []
        self.seeds = renewal.Seeds()
        self.folders: dict[str, frozenset[str]] = {}
        self.command_line = dash_f.Known()


_ready: Final = _Ready()


def prepare(modules: list[str]) -> None:
    """Import what a kernel of this environment imports, and these; then put out of sight what a new kernel has not.

    What cannot be imported is said on standard error and left out. Raises ImportError where there is no ipykernel.
    """
    _ready.path = list(sys.path)
    _ready.folders = {folder: _names(folder) for folder in sys.path}
    _ready.environ = dict(os.environ)
    with _scratch() as scratch, renewal.Seeds() as seeds, Recorder() as recorder:
        visible = list(json.loads(_ask_python(_STARTUP)))
        with variables.Readers() as readers:
            importlib.import_module("ipykernel.kernelapp")
            identity.library_signals.update(process.caught_in_c())
            scene = traces.Scene()
            _ready.command_line.learn()
            with streams.Standing(), askers.Askers(recorder.loading) as asking:
                # In a context of their own: what they put into it, a kernel has not got yet.
                contextvars.copy_context().run(_import_all, modules)
        for name in askers.forget(asking.found, recorder.needs, set(visible)):
            sys.stderr.write(
                f"nursery: {name} is compiled and asks for IPython when it is imported; do not preload it\n"
            )
        fonts = b"".join(path.read_bytes() for path in Path(scratch).glob("fontlist-*.json"))
    _ready.seeds = seeds
    _ready.readers = readers.found
    _ready.libraries = set(libraries.loaded().values())
    scene.restore()
    ipc.patch()
    history.patch()
    sys.modules.pop("__mp_main__", None)
    kept = {*visible} | {name for name in sys.modules if name.partition(".")[0] in ("manylab", "__main__")}
    _ready.hidden.hide([name for name in sys.modules if name not in kept], recorder, visible)
    _ready.hidden.stale = _stale
    _ready.hidden.when_imported.update(libraries.Renewal(fonts).table())
    for name in (*_LATE, *modules):
        if name in _ready.hidden.modules:
            _ready.hidden.prepared(name)


def _import_all(modules: list[str]) -> None:
    for name in (*_LATE, *modules, *(each for module in modules for each in _WHEN_USED.get(module, ()))):
        _import(name, said=name in modules)


def _stale() -> set[str]:
    return variables.stale(os.environ, _ready.environ, _ready.readers)


def preloaded() -> Iterable[types.ModuleType]:
    """Every module that is out of sight."""
    return _ready.hidden.modules.values()


def _ask_python(code: str) -> str:
    # Not by -c: its text is put into linecache, which is imported for that.
    argv = [sys.executable, *(f"-X{name}={value}" for name, value in sys._xoptions.items()), "-"]
    return subprocess.run(argv, input=code, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


@contextlib.contextmanager
def _scratch() -> Any:
    """Surroundings for imports that write into a home, and for libraries that would start threads."""
    folder = str(scratch.new())
    before = dict(os.environ)
    os.environ.update({"HOME": folder, "MPLCONFIGDIR": folder, "OPENBLAS_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"})
    # What Arrow, which pandas imports where it is there, would start a thread for is done by those who allocate.
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    # As ipykernel sets it in each kernel: to look for the backend takes matplotlib 7 ms.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try:
        yield folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _import(name: str, *, said: bool) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if said:
            sys.stderr.write(f"nursery: {name} cannot be imported: {error}\n")
    except Exception:
        traceback.print_exc()


def _names(folder: str) -> frozenset[str]:
    """What is in a folder of sys.path, but for the caches that Python itself puts there."""
    try:
        return frozenset(os.listdir(folder)) - {"__pycache__"}  # noqa: PTH208
    except OSError:
        return frozenset()


def why_cold(request: dict[str, Any]) -> str | None:
    """A sentence when this kernel would differ from one that was started cold; None: `become` it.

    Call as the person, in the server's namespaces. Takes over what a program would inherit from the server, so that a
    process that gets a sentence is of no use any more.
    """
    argv, environ = request["argv"], request["env"]
    options = [f"-X{name}={value}" for name, value in sys._xoptions.items()]
    if argv[: 3 + len(options)] != [sys.orig_argv[0], *options, "-m", takeover.LAUNCHER]:
        return "it is started by another command"
    for folder, names in _ready.folders.items():
        if _names(folder) != names:
            return f"{folder} has changed since the nursery was started"
    reason = variables.why_cold(environ, _ready.environ, _ready.readers, _ready.libraries)
    if reason is None:
        reason = _surroundings(request)
    return reason


def _surroundings(request: dict[str, Any]) -> str | None:
    environ = request["env"]
    if (reason := process.elsewhere(int(environ["JPY_PARENT_PID"]))) or (reason := process.inherit(request["traits"])):
        return reason
    try:
        os.chdir(request["cwd"])
    except OSError as error:
        return f"{request['cwd']} cannot be entered: {error.strerror}"
    os.umask(request["umask"])
    with contextlib.suppress(OSError):
        if found := _ready.hidden.shadow(request["cwd"]):
            return f"{found} has the name of a module that is loaded already"
    if "matplotlib" in _ready.hidden.modules and (found := libraries.matplotlib_files(environ, request["cwd"])):
        return f"{found} has settings of their own for matplotlib"
    process.environment(environ)
    return process.set_locale() or renewal.own_packages()


def become(request: dict[str, Any], descriptors: list[int], connection: socket.socket) -> None:
    """Be this kernel, but for ipykernel's launcher, which is to be run next; `why_cold` has been asked."""
    argv, environ = request["argv"], request["env"]
    process.stdio(descriptors)
    renewal.renew(environ)
    _ready.seeds.renew()
    appearance.command_line(argv, environ)
    _ready.hidden.use()
    _ready.command_line.use()
    _agree(wire.Conversation(connection))
    _say_when_listening(connection)
    takeover.become(argv, _ready.path)


def _agree(conversation: wire.Conversation) -> None:
    """Say that there is a kernel, and wait before it takes its sockets until the server wants it: it may have given up
    and started a cold one.
    """
    application = sys.modules["ipykernel.kernelapp"].IPKernelApp
    usual = vars(application)["init_sockets"]

    def init_sockets(self: Any) -> None:
        application.init_sockets = usual
        try:
            conversation.receive(seconds=_PATIENCE)
        except (OSError, wire.Broken):
            os._exit(1)
        conversation.connection.setblocking(True)
        usual(self)

    try:
        conversation.send({"pid": os.getpid()})
    except OSError:
        os._exit(1)
    application.init_sockets = init_sockets


def _say(connection: socket.socket, answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _say_when_listening(connection: socket.socket) -> None:
    """Tell the server when it can connect: what is tried earlier is tried again only after a tenth of a second."""
    application = sys.modules["ipykernel.kernelapp"].IPKernelApp
    usual = vars(application)["write_connection_file"]

    def write_connection_file(self: Any, **more: Any) -> None:
        application.write_connection_file = usual
        memory.as_usual()  # not before: the stack of each thread would begin with a huge page
        usual(self, **more)
        _say(connection, {"listening": True})
        connection.close()

    application.write_connection_file = write_connection_file
