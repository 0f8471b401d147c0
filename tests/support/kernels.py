"""One kernel, warm or cold, without a server: what a test asks it, and what it prints.

with Nursery(["numpy"]) as nursery, nursery.warm(home) as warm, nursery.cold(home) as cold:
    assert warm.run("print(6 * 7)") == cold.run("print(6 * 7)") == "42\\n"
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from manylab.lab import forked, provisioner
from manylab.warm import identity, process

SOURCE = Path(__file__).resolve().parents[2] / "src"
OPTION = "-Xfrozen_modules=off"
ENVIRONMENT = {"LANG": "C.UTF-8", "USER": "somebody", "SHELL": "/bin/sh"}


class Kernel:
    """A kernel that runs, and a client of it. `process`: something like a Popen."""

    def __init__(self, process: Any, file: Path, log: Path) -> None:
        self.process, self.folder, self.log = process, file.parent, log
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        self.client.start_channels(hb=False)
        try:
            self.client.wait_for_ready(timeout=60)
        except BaseException:
            self.close()
            raise

    def run(self, code: str, timeout: float = 60.0) -> str:
        """Everything that a cell shows, as text."""
        shown: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown.append(f"<{sorted(content['data'])} {content['data'].get('text/plain')}>")
            elif message["msg_type"] == "error":
                shown.append("\n".join(content["traceback"]))

        self.client.execute_interactive(code, timeout=timeout, output_hook=hear, allow_stdin=False)
        return "".join(shown)

    def close(self) -> None:
        self.client.stop_channels()
        self.process.kill()
        self.process.wait(60)


class Nursery:
    """A nursery of this account's own, for the Python that runs the tests or that of MANYLAB_KERNEL_PYTHON."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self.python = os.environ.get("MANYLAB_KERNEL_PYTHON", sys.executable)
        self.modules = modules

    def __enter__(self) -> Nursery:
        # Short: a socket's path has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="mlk-"))
        self.socket = self.folder / "nursery"
        program = Path(__file__).with_name("small_nursery.py")
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            # Its standard input ends with this process, and it with that, however this one ends.
            self.process = stack.enter_context(
                subprocess.Popen(
                    [self.python, OPTION, "-m", "manylab.warm.main.kernel", program, self.socket, *self.modules],
                    cwd=SOURCE,
                    env={"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8", "TMPDIR": str(self.folder)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(end_all, self.folder)
            assert self.process.stdout is not None
            said = self.process.stdout.readline()
            assert said == "ready\n", said
            self._end = stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self._end.close()

    def warm(self, home: Path, environ: Mapping[str, str] | None = None) -> contextlib.AbstractContextManager[Kernel]:
        """A kernel from the nursery. Raises forked.Cold."""
        return self._kernel(home, environ or {}, self._fork)

    def cold(self, home: Path, environ: Mapping[str, str] | None = None) -> contextlib.AbstractContextManager[Kernel]:
        """What jupyter_client would have started."""
        return self._kernel(home, environ or {}, _start)

    def launched(
        self, home: Path, environ: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Kernel]:
        """What a site starts when there can be no warm one."""
        return self._kernel(home, environ or {}, lambda argv, *more: _start(provisioner.without_ports(argv), *more))

    @contextlib.contextmanager
    def _kernel(self, home: Path, more: Mapping[str, str], start: Callable[..., Any]) -> Iterator[Kernel]:
        folder = Path(tempfile.mkdtemp(prefix="mlk-"))
        (folder / "tmp").mkdir()
        file, log = folder / "kernel-x.json", folder / "log"
        ports = {f"{name}_port": place for place, name in enumerate(("shell", "iopub", "stdin", "hb", "control"), 1)}
        write_connection_file(str(file), transport="ipc", ip=str(folder / "k"), key=uuid.uuid4().hex.encode(), **ports)
        environ = {
            **ENVIRONMENT,
            "PATH": f"{Path(self.python).parent}:{os.defpath}",
            "HOME": str(home),
            "JUPYTER_RUNTIME_DIR": str(folder),
            "TMPDIR": str(folder / "tmp"),
            **more,
            "JPY_PARENT_PID": str(os.getpid()),
        }
        argv = [self.python, OPTION, "-m", "ipykernel_launcher", "-f", str(file)]
        try:
            with log.open("wb") as out:
                kernel = Kernel(start(argv, environ, home, out.fileno()), file, log)
            try:
                yield kernel
            finally:
                kernel.close()
        finally:
            end_all(folder)
            shutil.rmtree(folder)

    def _fork(self, argv: list[str], environ: dict[str, str], home: Path, out: int) -> Any:
        request = {
            "argv": argv,
            "env": environ,
            "cwd": str(home),
            "umask": process.umask(),
            "traits": process.traits(),
        }
        nothing, end = os.pipe()
        os.close(end)
        try:
            return forked.ask(self.socket, request, [nothing, out, out])
        finally:
            os.close(nothing)


def _start(argv: list[str], environ: dict[str, str], home: Path, out: int) -> Any:
    child = subprocess.Popen(
        argv, env=environ, cwd=home, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
    )
    assert child.stdin is not None
    child.stdin.close()
    with contextlib.suppress(OSError):
        # As the server does with every kernel.
        Path(f"/proc/{child.pid}/oom_score_adj").write_text(str(identity.KERNEL_OOM_SCORE))
    return child


def using(folder: Path) -> list[int]:
    """Processes that have this folder in their command line or environment: kernels, and all that cells started."""
    found, name = [], os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and any(name in (entry / part).read_bytes() for part in ("cmdline", "environ")):
                found.append(int(entry.name))
    return found


def end_all(folder: Path) -> None:
    """End what a nursery or a kernel and its cells left, such as multiprocessing's servers and trackers."""

    def gone() -> bool:
        left = using(folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    until(gone)


def until(condition: Any, timeout: float = 60.0) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
